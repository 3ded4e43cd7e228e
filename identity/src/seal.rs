//! Sealing of small secrets under a 32-byte key: XChaCha20-Poly1305, nonce first.
//!
//! Pure, given randomness.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use shoal_base::random::Random;

const NONCE: usize = 24;

/// Seals `plain`. `purpose` must be given again to open it, so that one sealed thing cannot stand for another.
pub(crate) fn close(key: &[u8; 32], purpose: &[u8], plain: &[u8], random: &dyn Random) -> Vec<u8> {
    let mut nonce = [0; NONCE];
    random.fill(&mut nonce);
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(XNonce::from_slice(&nonce), Payload { msg: plain, aad: purpose })
        .expect("the cipher takes far more than a key");
    [&nonce[..], &sealed].concat()
}

/// Opens what [`close`] sealed; `None`: another key, another purpose, or damage.
pub(crate) fn open(key: &[u8; 32], purpose: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
    XChaCha20Poly1305::new(key.into())
        .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: purpose })
        .ok()
}

#[cfg(test)]
mod tests {
    use shoal_base::random::SystemRandom;

    use super::*;

    #[test]
    fn opens_with_the_same_key_and_purpose_only() {
        let sealed = close(&[1; 32], b"a", b"secret", &SystemRandom);
        assert_eq!(open(&[1; 32], b"a", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(open(&[2; 32], b"a", &sealed), None);
        assert_eq!(open(&[1; 32], b"b", &sealed), None);
        assert_eq!(open(&[1; 32], b"a", &sealed[..20]), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&[1; 32], b"a", &damaged), None, "byte {at}");
        }
    }
}
