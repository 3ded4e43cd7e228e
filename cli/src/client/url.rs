//! Percent encoding. Pure.

/// Encodes all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Encodes a name for a path: slashes and colons stay.
pub(crate) fn segment(text: &str) -> String {
    encode(text).replace("%2F", "/").replace("%3A", ":").replace("%40", "@")
}
