//! PAX records: `<length> <key>=<value>\n`. Pure.

use super::entry::Error;

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What the records before an entry say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Sparse,
}

/// GNU's sparse records, formats 0.0, 0.1 and 1.0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sparse {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) major: Option<u64>,
    pub(crate) real_size: Option<u64>,
    pub(crate) map: Option<Vec<(u64, u64)>>,
    offset: Option<u64>,
}

impl Pax {
    /// Adds the records in `bytes`; later ones win.
    pub(crate) fn parse(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(Error::Damaged("bad PAX record"))?;
            self.apply(key, value)?;
            bytes = rest;
        }
        Ok(())
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        // An empty value takes back what a global header said.
        let set = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = set(),
            b"linkpath" => self.link = set(),
            b"size" => self.size = optional(value)?,
            b"uid" => self.uid = optional(value)?,
            b"gid" => self.gid = optional(value)?,
            b"mtime" => self.mtime = (!value.is_empty()).then(|| time(value)).transpose()?,
            b"GNU.sparse.name" => self.sparse.name = set(),
            b"GNU.sparse.major" => self.sparse.major = optional(value)?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse.real_size = optional(value)?;
            }
            b"GNU.sparse.map" => self.sparse.map = Some(map(value)?),
            b"GNU.sparse.offset" => self.sparse.offset = optional(value)?,
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take();
                let offset = offset.ok_or(Error::Damaged("sparse length without offset"))?;
                self.sparse.map.get_or_insert_default().push((offset, number(value)?));
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

/// Splits off the first record.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

fn number(value: &[u8]) -> Result<u64, Error> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or(Error::Damaged("bad number in a PAX record"))
}

fn optional(value: &[u8]) -> Result<Option<u64>, Error> {
    if value.is_empty() { Ok(None) } else { number(value).map(Some) }
}

/// `seconds[.fraction]`, possibly negative; digits beyond nanoseconds are cut.
fn time(value: &[u8]) -> Result<(i64, u32), Error> {
    let bad = || Error::Damaged("bad time in a PAX record");
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(bad());
    }
    let seconds: i64 = whole.parse().map_err(|_| bad())?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().map_err(|_| bad())?;
    if whole.starts_with('-') && nanos > 0 {
        return Ok((seconds.checked_sub(1).ok_or_else(bad)?, 1_000_000_000 - nanos));
    }
    Ok((seconds, nanos))
}

/// `offset,length,offset,length…`
fn map(value: &[u8]) -> Result<Vec<(u64, u64)>, Error> {
    let numbers = value.split(|byte| *byte == b',').map(number).collect::<Result<Vec<_>, _>>()?;
    if numbers.len() % 2 != 0 {
        return Err(Error::Damaged("odd numbers in a sparse map"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(records: &[u8]) -> Result<Pax, String> {
        let mut pax = Pax::default();
        pax.parse(records).map_err(|error| error.to_string())?;
        Ok(pax)
    }

    #[test]
    fn reads_what_matters() {
        let pax = parsed(b"9 path=b\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"b"[..]));
        let pax = parsed(b"15 mtime=-1.25\n29 SCHILY.xattr.user.a=\0\n=b\n\n").unwrap();
        assert_eq!(pax.mtime, Some((-2, 750_000_000)));
        assert_eq!(pax.xattrs, [(b"user.a".to_vec(), b"\0\n=b\n".to_vec())]);
        let pax = parsed(b"26 GNU.sparse.map=0,1,4,2\n").unwrap();
        assert_eq!(pax.sparse.map, Some(vec![(0, 1), (4, 2)]));
    }

    #[test]
    fn refuses_damaged_records() {
        for bytes in [&b"x"[..], b"5 a\n", b"99 path=b\n", b"0 a=b\n", b"10 size=x\n", b"3 a=b\n"] {
            assert!(parsed(bytes).is_err(), "{bytes:?}");
        }
    }
}
