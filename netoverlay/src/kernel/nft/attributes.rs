//! Netlink attributes: writing and reading.

/// Set on attributes that contain attributes.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER_LEN: usize = 4;

/// A growing list of attributes.
#[derive(Debug, Clone, Default)]
pub(in crate::kernel) struct Writer(Vec<u8>);

impl Writer {
    /// Behind the header of a family of messages.
    pub(in crate::kernel) fn with_header(header: impl Into<Vec<u8>>) -> Self {
        Self(header.into())
    }

    pub(in crate::kernel) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(HEADER_LEN + value.len()).expect("attributes stay below 64 kB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.pad();
        self
    }

    pub(in crate::kernel) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// A number in network order, as nf_tables wants all its numbers.
    pub(in crate::kernel) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(in crate::kernel) fn nested(
        &mut self,
        kind: u16,
        write: impl FnOnce(&mut Self),
    ) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0; HEADER_LEN]);
        write(self);
        let length =
            u16::try_from(self.0.len() - start).expect("attributes stay below 64 kB").to_ne_bytes();
        self.0[start..start + 2].copy_from_slice(&length);
        self.0[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        self
    }

    /// Attributes that were written apart.
    pub(in crate::kernel) fn raw_nested(&mut self, kind: u16, attributes: &[u8]) -> &mut Self {
        self.bytes(kind | NESTED, attributes)
    }

    pub(in crate::kernel) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::kernel) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The attributes of a message, type and value. Ends at the first that does not fit.
pub(in crate::kernel) fn read(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..HEADER_LEN)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(HEADER_LEN..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a type.
pub(in crate::kernel) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    read(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// An attribute that is text.
pub(in crate::kernel) fn text(bytes: &[u8], kind: u16) -> Option<String> {
    let value = find(bytes, kind)?;
    let value = value.strip_suffix(&[0]).unwrap_or(value);
    String::from_utf8(value.to_vec()).ok()
}

/// An attribute that is a number in network order.
pub(in crate::kernel) fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    find(bytes, kind)?.try_into().ok().map(u32::from_be_bytes)
}
