//! The kernel's numbers of nf_tables.
//!
//! Source: Linux `include/uapi/linux/netfilter/nf_tables.h`, `nfnetlink.h`; type numbers of keys, which
//! only the nft program reads, from nftables `include/datatype.h`.

pub(super) const SUBSYSTEM: u16 = 10;
pub(super) const BATCH_BEGIN: u16 = 0x10;
pub(super) const BATCH_END: u16 = 0x11;
pub(super) const FAMILY_INET: u8 = 1;
pub(super) const FAMILY_NETDEV: u8 = 5;

pub(super) mod message {
    pub(in super::super) const NEW_TABLE: u16 = 0;
    pub(in super::super) const GET_TABLE: u16 = 1;
    pub(in super::super) const DEL_TABLE: u16 = 2;
    pub(in super::super) const NEW_CHAIN: u16 = 3;
    pub(in super::super) const GET_CHAIN: u16 = 4;
    pub(in super::super) const DEL_CHAIN: u16 = 5;
    pub(in super::super) const NEW_RULE: u16 = 6;
    pub(in super::super) const GET_RULE: u16 = 7;
    pub(in super::super) const DEL_RULE: u16 = 8;
    pub(in super::super) const NEW_SET: u16 = 9;
    pub(in super::super) const GET_SET: u16 = 10;
    pub(in super::super) const DEL_SET: u16 = 11;
    pub(in super::super) const NEW_ELEMENT: u16 = 12;
    pub(in super::super) const GET_ELEMENT: u16 = 13;
    pub(in super::super) const DEL_ELEMENT: u16 = 14;
}

/// Numbers of attributes, one list per object.
pub(super) mod attribute {
    pub(in super::super) const TABLE_NAME: u16 = 1;
    pub(in super::super) const CHAIN_TABLE: u16 = 1;
    pub(in super::super) const CHAIN_NAME: u16 = 3;
    pub(in super::super) const CHAIN_HOOK: u16 = 4;
    pub(in super::super) const CHAIN_POLICY: u16 = 5;
    pub(in super::super) const CHAIN_TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUMBER: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;
    pub(in super::super) const HOOK_LINK: u16 = 3;
    pub(in super::super) const RULE_TABLE: u16 = 1;
    pub(in super::super) const RULE_CHAIN: u16 = 2;
    pub(in super::super) const RULE_HANDLE: u16 = 3;
    pub(in super::super) const RULE_EXPRESSIONS: u16 = 4;
    pub(in super::super) const RULE_USER_DATA: u16 = 7;
    pub(in super::super) const LIST_ELEMENT: u16 = 1;
    pub(in super::super) const EXPRESSION_NAME: u16 = 1;
    pub(in super::super) const EXPRESSION_DATA: u16 = 2;
    pub(in super::super) const SET_TABLE: u16 = 1;
    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const SET_FLAGS: u16 = 3;
    pub(in super::super) const SET_KEY_TYPE: u16 = 4;
    pub(in super::super) const SET_KEY_LEN: u16 = 5;
    pub(in super::super) const SET_DATA_TYPE: u16 = 6;
    pub(in super::super) const SET_DATA_LEN: u16 = 7;
    pub(in super::super) const SET_ID: u16 = 10;
    pub(in super::super) const SET_USER_DATA: u16 = 13;
    pub(in super::super) const ELEMENTS_TABLE: u16 = 1;
    pub(in super::super) const ELEMENTS_SET: u16 = 2;
    pub(in super::super) const ELEMENTS_LIST: u16 = 3;
    pub(in super::super) const ELEMENT_KEY: u16 = 1;
    pub(in super::super) const ELEMENT_DATA: u16 = 2;
    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
}

/// Type of the data of a map of verdicts.
pub(super) const VERDICT_DATA: u32 = 0xffff_ff00;
/// A set that maps.
pub(super) const FLAG_MAP: u32 = 8;

pub(super) const ACCEPT: u32 = 1;
pub(super) const DROP: u32 = 0;
pub(super) const JUMP: u32 = 0u32.wrapping_sub(3);
pub(super) const RETURN: u32 = 0u32.wrapping_sub(5);

/// The register that holds verdicts.
pub(super) const VERDICT_REGISTER: u32 = 0;
/// The first register of four bytes; sixteen follow each other.
pub(super) const FIRST_REGISTER: u32 = 8;

/// In the user data of a set: its key is in the host's byte order. Only the nft program reads it, and shows no
/// names of links without it.
pub(super) const KEY_IN_HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// Type of a comment in the user data of a rule.
pub(super) const COMMENT: u8 = 0;
