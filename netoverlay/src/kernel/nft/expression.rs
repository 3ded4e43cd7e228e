//! Expressions of rules in the kernel's encoding: each loads registers, tests or acts.

use std::net::IpAddr;

use super::attributes::Writer;
use super::names::{
    ACCEPT, DROP, FIRST_REGISTER, JUMP, RETURN, VERDICT_REGISTER,
    attribute::{
        DATA_VALUE, DATA_VERDICT, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ELEMENT, VERDICT_CHAIN,
        VERDICT_CODE,
    },
};
use crate::plan::ruleset::{
    Direction, Expression, Family, Field, FieldType, Interface, Is, Rule, Side, interface_key,
};
use crate::subnet::Subnet;

const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_MARK: u32 = 3;
const META_FAMILY: u32 = 15;
const META_OUTPUT_KIND: u32 = 27;
const META_PROTOCOL: u32 = 16;
const LINK_HEADER: u32 = 0;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const ADDRESS_LOCAL: u32 = 2;
const CT_STATE: u32 = 0;
const CT_DIRECTION: u32 = 1;
const CT_STATUS: u32 = 2;
const CT_MARK: u32 = 3;
const NEW: u32 = 8;
const ROUTE_NEXT_HOP4: u32 = 1;
const ROUTE_NEXT_HOP6: u32 = 2;
/// Protocol and type of ICMP and of ICMPv6.
const REDIRECT4: (u8, u8) = (1, 5);
const REDIRECT6: (u8, u8) = (58, 137);
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_DNAT: u32 = 1 << 5;
const NAT_SOURCE: u32 = 0;
const NAT_DESTINATION: u32 = 1;
const NUMBERS_RANDOM: u32 = 1;

/// Writes a rule's expressions.
pub(super) fn write(rule: &Rule, out: &mut Writer) {
    for expression in &rule.0 {
        write_expression(expression, out);
    }
}

fn write_expression(expression: &Expression, out: &mut Writer) {
    match expression {
        Expression::Family(family) => test_family(*family, out),
        Expression::Interface(interface, is, name) => {
            let key =
                if *interface == Interface::Input { META_INPUT_NAME } else { META_OUTPUT_NAME };
            meta(key, FIRST_REGISTER, out);
            let operator = if *is == Is::Equal { EQUAL } else { NOT_EQUAL };
            compare(operator, &interface_key(name), out);
        }
        Expression::Address(side, subnet) => test_address(*side, *subnet, out),
        Expression::DestinationLocal => {
            one(out, "fib", |data| {
                data.number(1, FIRST_REGISTER)
                    .number(2, FIB_ADDRESS_TYPE)
                    .number(3, FIB_DESTINATION);
            });
            compare(EQUAL, &ADDRESS_LOCAL.to_ne_bytes(), out);
        }
        Expression::Established => test_connection(CT_STATE, ESTABLISHED_OR_RELATED, out),
        Expression::DestinationRewritten => test_connection(CT_STATUS, STATUS_DNAT, out),
        Expression::VerdictMap(fields, map) => {
            load(fields, out);
            lookup(map, VERDICT_REGISTER, out);
        }
        Expression::RewriteDestination(family, fields, map) => {
            load(fields, out);
            lookup(map, FIRST_REGISTER, out);
            rewrite_destination(*family, true, out);
        }
        Expression::RewriteAddress(family, fields, map) => {
            load(fields, out);
            lookup(map, FIRST_REGISTER, out);
            rewrite_destination(*family, false, out);
        }
        Expression::LeavesByBridge => {
            meta(META_OUTPUT_KIND, FIRST_REGISTER, out);
            compare(EQUAL, &interface_key("bridge"), out);
        }
        Expression::SetMark(bits) => change_mark(!bits, *bits, out),
        Expression::ClearMark(bits) => change_mark(!bits, 0, out),
        Expression::Masquerade => one(out, "masq", |_| ()),
        Expression::RewriteSource(address) => rewrite_source(*address, out),
        Expression::New => test_connection(CT_STATE, NEW, out),
        Expression::Directed(direction) => {
            connection(CT_DIRECTION, FIRST_REGISTER, out);
            compare(EQUAL, &[u8::from(*direction == Direction::Reply)], out);
        }
        Expression::ConnectionMarked(bits) => test_connection(CT_MARK, *bits, out),
        Expression::MarkConnectionBySource(map) => {
            payload(LINK_HEADER, 6, 6, FIRST_REGISTER, out);
            lookup(map, FIRST_REGISTER, out);
            one(out, "ct", |data| {
                data.number(2, CT_MARK).number(4, FIRST_REGISTER);
            });
        }
        Expression::MarkFromConnection(bits) => {
            connection(CT_MARK, FIRST_REGISTER, out);
            mask(&bits.to_ne_bytes(), out);
            one(out, "meta", |data| {
                data.number(3, FIRST_REGISTER).number(2, META_MARK);
            });
        }
        Expression::Redirect(family) => {
            let (protocol, kind) = if *family == Family::Ipv4 { REDIRECT4 } else { REDIRECT6 };
            meta(META_PROTOCOL, FIRST_REGISTER, out);
            compare(EQUAL, &[protocol], out);
            payload(TRANSPORT_HEADER, 0, 1, FIRST_REGISTER, out);
            compare(EQUAL, &[kind], out);
        }
        Expression::FrameTo(mac) => {
            payload(LINK_HEADER, 0, 6, FIRST_REGISTER, out);
            compare(EQUAL, &mac.0, out);
        }
        Expression::RewriteFrame(bits, map) => {
            meta(META_MARK, FIRST_REGISTER, out);
            mask(&bits.to_ne_bytes(), out);
            lookup(map, FIRST_REGISTER, out);
            one(out, "payload", |data| {
                data.number(5, FIRST_REGISTER).number(2, LINK_HEADER).number(3, 0).number(4, 6);
            });
        }
        Expression::Accept => verdict(ACCEPT, None, out),
        Expression::Drop => verdict(DROP, None, out),
        Expression::Return => verdict(RETURN, None, out),
        Expression::Jump(chain) => verdict(JUMP, Some(chain), out),
    }
}

fn one(out: &mut Writer, name: &str, write: impl FnOnce(&mut Writer)) {
    out.nested(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name);
        element.nested(EXPRESSION_DATA, write);
    });
}

fn meta(key: u32, register: u32, out: &mut Writer) {
    one(out, "meta", |data| {
        data.number(1, register).number(2, key);
    });
}

fn payload(base: u32, offset: u32, length: u32, register: u32, out: &mut Writer) {
    one(out, "payload", |data| {
        data.number(1, register).number(2, base).number(3, offset).number(4, length);
    });
}

fn compare(operator: u32, value: &[u8], out: &mut Writer) {
    one(out, "cmp", |data| {
        data.number(1, FIRST_REGISTER).number(2, operator).nested(3, |wrapped| {
            wrapped.bytes(DATA_VALUE, value);
        });
    });
}

fn mask(mask: &[u8], out: &mut Writer) {
    bitwise(mask, &vec![0; mask.len()], out);
}

/// `(register & mask) ^ bits`.
fn bitwise(mask: &[u8], bits: &[u8], out: &mut Writer) {
    let length = u32::try_from(mask.len()).expect("a mask is short");
    one(out, "bitwise", |data| {
        data.number(1, FIRST_REGISTER).number(2, FIRST_REGISTER).number(3, length);
        data.nested(4, |wrapped| {
            wrapped.bytes(DATA_VALUE, mask);
        });
        data.nested(5, |wrapped| {
            wrapped.bytes(DATA_VALUE, bits);
        });
    });
}

/// Takes the mark through `mask`, sets `bits`, and writes it back.
fn change_mark(mask: u32, bits: u32, out: &mut Writer) {
    meta(META_MARK, FIRST_REGISTER, out);
    bitwise(&mask.to_ne_bytes(), &bits.to_ne_bytes(), out);
    one(out, "meta", |data| {
        data.number(3, FIRST_REGISTER).number(2, META_MARK);
    });
}

/// Accepts packets that have all bits of `mark`.
pub(super) fn write_marked(mark: u32, out: &mut Writer) {
    meta(META_MARK, FIRST_REGISTER, out);
    self::mask(&mark.to_ne_bytes(), out);
    compare(EQUAL, &mark.to_ne_bytes(), out);
    verdict(ACCEPT, None, out);
}

/// The same in the words of iptables: `-m mark --mark MARK/MARK -j ACCEPT`.
pub(super) fn write_marked_for_iptables(mark: u32, out: &mut Writer) {
    // struct xt_mark_mtinfo1: mark, mask, invert; padded to eight bytes.
    let info = [&mark.to_ne_bytes()[..], &mark.to_ne_bytes(), &[0; 8]].concat();
    one(out, "match", |data| {
        data.text(1, "mark").number(2, 1).bytes(3, &info);
    });
    verdict(ACCEPT, None, out);
}

fn test_family(family: Family, out: &mut Writer) {
    meta(META_FAMILY, FIRST_REGISTER, out);
    compare(EQUAL, &[family as u8], out);
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn test_address(side: Side, subnet: Subnet, out: &mut Writer) {
    test_family(Family::of(subnet.address), out);
    let (offset, length) = match (subnet.is_ipv4(), side) {
        (true, Side::Source) => (12, 4),
        (true, Side::Destination) => (16, 4),
        (false, Side::Source) => (8, 16),
        (false, Side::Destination) => (24, 16),
    };
    payload(NETWORK_HEADER, offset, length, FIRST_REGISTER, out);
    if subnet.host_bits() > 0 {
        let ones = u128::MAX.checked_shl(subnet.host_bits().into()).unwrap_or(0);
        let ones = ones.to_be_bytes();
        mask(&ones[ones.len() - bytes(subnet.address).len()..], out);
    }
    compare(EQUAL, &bytes(subnet.network().address), out);
}

fn connection(key: u32, register: u32, out: &mut Writer) {
    one(out, "ct", |data| {
        data.number(1, register).number(2, key);
    });
}

fn test_connection(key: u32, bits: u32, out: &mut Writer) {
    connection(key, FIRST_REGISTER, out);
    mask(&bits.to_ne_bytes(), out);
    compare(NOT_EQUAL, &[0; 4], out);
}

fn load(fields: &[Field], out: &mut Writer) {
    let mut register = FIRST_REGISTER;
    for field in fields {
        match field {
            Field::InputName => meta(META_INPUT_NAME, register, out),
            Field::OutputName => meta(META_OUTPUT_NAME, register, out),
            Field::Protocol => meta(META_PROTOCOL, register, out),
            Field::Ipv4Source => payload(NETWORK_HEADER, 12, 4, register, out),
            Field::Ipv6Source => payload(NETWORK_HEADER, 8, 16, register, out),
            Field::Ipv4NextHop => next_hop(ROUTE_NEXT_HOP4, register, out),
            Field::Ipv6NextHop => next_hop(ROUTE_NEXT_HOP6, register, out),
            Field::Ipv4Destination => payload(NETWORK_HEADER, 16, 4, register, out),
            Field::Ipv6Destination => payload(NETWORK_HEADER, 24, 16, register, out),
            Field::DestinationPort => payload(TRANSPORT_HEADER, 2, 2, register, out),
            Field::Slot(count) => one(out, "numgen", |data| {
                data.number(1, register).number(2, *count).number(3, NUMBERS_RANDOM);
            }),
        }
        register += registers(field.kind());
    }
}

fn next_hop(key: u32, register: u32, out: &mut Writer) {
    one(out, "rt", |data| {
        data.number(1, register).number(2, key);
    });
}

fn registers(kind: FieldType) -> u32 {
    u32::try_from(kind.padded_len() / 4).expect("a key has few registers")
}

fn lookup(map: &str, register: u32, out: &mut Writer) {
    one(out, "lookup", |data| {
        data.text(1, map).number(2, FIRST_REGISTER).number(3, register);
    });
}

fn rewrite_destination(family: Family, port: bool, out: &mut Writer) {
    let address = if family == Family::Ipv4 { FieldType::Ipv4 } else { FieldType::Ipv6 };
    one(out, "nat", |data| {
        data.number(1, NAT_DESTINATION)
            .number(2, u32::from(family as u8))
            .number(3, FIRST_REGISTER);
        if port {
            data.number(5, FIRST_REGISTER + registers(address));
        }
    });
}

fn rewrite_source(address: IpAddr, out: &mut Writer) {
    let family = Family::of(address);
    test_family(family, out);
    one(out, "immediate", |data| {
        data.number(1, FIRST_REGISTER).nested(2, |wrapped| {
            wrapped.bytes(DATA_VALUE, &bytes(address));
        });
    });
    one(out, "nat", |data| {
        data.number(1, NAT_SOURCE).number(2, u32::from(family as u8)).number(3, FIRST_REGISTER);
    });
}

fn verdict(code: u32, chain: Option<&str>, out: &mut Writer) {
    one(out, "immediate", |data| {
        data.number(1, VERDICT_REGISTER);
        data.nested(2, |wrapped| write_verdict(code, chain, wrapped));
    });
}

/// Writes a verdict as data of an expression or an element.
pub(super) fn write_verdict(code: u32, chain: Option<&str>, out: &mut Writer) {
    out.nested(DATA_VERDICT, |data| {
        data.number(VERDICT_CODE, code);
        if let Some(chain) = chain {
            data.text(VERDICT_CHAIN, chain);
        }
    });
}
