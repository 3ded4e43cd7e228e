//! Keys in the older form of OpenSSL (`EC PRIVATE KEY`), put into the form that the library reads.
//!
//! Pure. Source: RFC 5915 (what is read), RFC 5208 (what is written).

use rustls_pki_types::PrivateSec1KeyDer;

/// DER of the object identifier `id-ecPublicKey`.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// DER of the object identifiers of the curves that are known here: P-256 and P-384.
const CURVES: [&[u8]; 2] = [
    &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
];

/// The key in PKCS #8; `None`: of a curve that is not known here.
pub(crate) fn to_pkcs8(key: &PrivateSec1KeyDer<'_>) -> Option<Vec<u8>> {
    let key = key.secret_sec1_der();
    let curve = CURVES.into_iter().find(|oid| key.windows(oid.len()).any(|at| at == *oid))?;
    let algorithm = element(0x30, &[EC_PUBLIC_KEY, curve].concat())?;
    let version = [0x02, 0x01, 0x00];
    element(0x30, &[&version[..], &algorithm, &element(0x04, key)?].concat())
}

/// A DER element; `None` beyond 65 535 bytes, which no key has.
fn element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let mut bytes = vec![tag];
    match (high, low) {
        (0, short) if short < 0x80 => bytes.push(short),
        (0, low) => bytes.extend([0x81, low]),
        (high, low) => bytes.extend([0x82, high, low]),
    }
    bytes.extend(content);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    /// Made by `openssl ecparam -name prime256v1 -genkey -noout`.
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIApo5YlpBVkpavoDkTFILbd9pidJfp+vBDxXOUMAQ0G+oAoGCCqGSM49
AwEHoUQDQgAE84l/1e8RKm5oKCL3kkyowbZLsdGX5WOqQlQIPMEEgoBNcvuJNwIv
ndJgfgf7kRZB/uHmOUnf4TW7+YvT7wDZ4g==
-----END EC PRIVATE KEY-----
";

    #[test]
    fn the_library_reads_what_openssl_wrote() {
        let key = PrivateSec1KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let der = to_pkcs8(&key).unwrap();
        let der = rustls_pki_types::PrivateKeyDer::Pkcs8(der.into());
        let pair = rcgen::KeyPair::from_der_and_sign_algo(&der, &rcgen::PKCS_ECDSA_P256_SHA256);
        assert!(pair.is_ok());
    }

    #[test]
    fn other_curves_are_not_guessed() {
        assert_eq!(to_pkcs8(&PrivateSec1KeyDer::from(vec![0x30, 0x00])), None);
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        assert_eq!(element(4, &[0; 0x7f]).unwrap()[..2], [4, 0x7f]);
        assert_eq!(element(4, &[0; 0x80]).unwrap()[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[0; 0x100]).unwrap()[..4], [4, 0x82, 1, 0]);
        assert_eq!(element(4, &[0; 0x1_0000]), None);
    }
}
