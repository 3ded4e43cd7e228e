use std::io::Cursor;

use super::*;

struct Fixture {
    directory: tempfile::TempDir,
    store: ContentStore,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path(), Leases::default(), Boot::New).unwrap();
    Fixture { directory, store }
}

fn reopen(fixture: &Fixture, boot: Boot) -> ContentStore {
    ContentStore::open(fixture.directory.path(), Leases::default(), boot).unwrap()
}

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn an_interrupted_ingest_goes_on_after_a_restart() {
    let fixture = fixture();
    fixture.store.ingest("layer").unwrap().write_bytes(b"hel").unwrap();
    let store = reopen(&fixture, Boot::Same);
    let mut ingest = store.ingest("layer").unwrap();
    assert_eq!(ingest.offset(), 3);
    ingest.write_bytes(b"lo").unwrap();
    let expected = Expected { digest: Some(HELLO.parse().unwrap()), size: Some(5) };
    let committed = ingest.commit(expected, &store.lease()).unwrap();
    assert_eq!(committed, Committed { digest: HELLO.parse().unwrap(), size: 5 });
    assert_eq!(store.read(committed.digest, 5).unwrap(), b"hello");
    assert_eq!(std::fs::read_dir(fixture.directory.path().join("ingest")).unwrap().count(), 0);
}

#[test]
fn a_wrong_digest_is_refused_and_thrown_away() {
    let Fixture { store, .. } = &fixture();
    let mut ingest = store.ingest("layer").unwrap();
    ingest.write_bytes(b"hellO").unwrap();
    let expected = Expected { digest: Some(HELLO.parse().unwrap()), size: None };
    let error = ingest.commit(expected, &store.lease()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(store.ingest("layer").unwrap().offset(), 0);
    assert_eq!(store.stat(HELLO.parse().unwrap()).unwrap(), None);
}

#[test]
fn a_short_blob_can_be_resumed_and_a_long_one_cannot() {
    let Fixture { store, .. } = &fixture();
    let expected = Expected { digest: None, size: Some(4) };
    for (bytes, left) in [(&b"abc"[..], 3), (&b"zz"[..], 0)] {
        let mut ingest = store.ingest("k").unwrap();
        ingest.write_bytes(bytes).unwrap();
        let error = ingest.commit(expected, &store.lease()).unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
        assert_eq!(store.ingest("k").unwrap().offset(), left);
    }
}

#[test]
fn one_writer_per_key() {
    let Fixture { store, .. } = &fixture();
    let first = store.ingest("k").unwrap();
    assert!(matches!(store.ingest("k").unwrap_err(), Error::Busy { .. }));
    drop(first);
    store.ingest("k").unwrap();
    for key in ["", "..", "a/b", "~1"] {
        assert!(matches!(store.ingest(key).unwrap_err(), Error::InvalidKey { .. }), "{key}");
    }
}

#[test]
fn copying_hashes_the_same_as_writing() {
    let Fixture { store, .. } = &fixture();
    let lease = store.lease();
    let bytes: Vec<u8> =
        (0..1_000_003_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
    let mut ingest = store.ingest_anonymous().unwrap();
    let mut last = 0;
    let copied = ingest.copy_from(&mut Cursor::new(&bytes), &mut |seen| last = seen).unwrap();
    let committed = ingest.commit(Expected::default(), &lease).unwrap();
    assert_eq!([copied, last, committed.size], [1_000_003; 3]);
    assert_eq!(store.put(&bytes, &lease).unwrap(), committed.digest);
    assert_eq!(store.read(committed.digest, 2_000_000).unwrap(), bytes);
}

#[test]
fn a_sweep_removes_what_nobody_refers_to() {
    let Fixture { store, .. } = &fixture();
    let lease = store.lease();
    let kept = store.put(b"kept", &lease).unwrap();
    let gone = store.put(b"gone!", &lease).unwrap();
    drop(lease);
    let held = store.lease();
    let leased = store.put(b"leased", &held).unwrap();
    let sweep = store.leases().begin_sweep();
    assert_eq!(store.sweep(&sweep, &HashSet::from([kept])).unwrap(), 5);
    let here = [kept, leased, gone].map(|digest| store.stat(digest).unwrap().is_some());
    assert_eq!(here, [true, true, false]);
}

#[test]
fn after_the_machine_went_down_unsealed_blobs_are_verified() {
    let fixture = fixture();
    let lease = fixture.store.lease();
    let sealed = fixture.store.put(b"sealed", &lease).unwrap();
    fixture.store.seal().unwrap();
    let good = fixture.store.put(b"good", &lease).unwrap();
    let torn = fixture.store.put(b"torn", &lease).unwrap();
    std::fs::write(fixture.store.path(torn), b"to\0\0").unwrap();
    assert!(reopen(&fixture, Boot::Same).stat(torn).unwrap().is_some());
    let store = reopen(&fixture, Boot::New);
    assert_eq!(store.stat(sealed).unwrap(), Some(BlobInfo { size: 6, sealed: true }));
    assert_eq!(store.stat(good).unwrap(), Some(BlobInfo { size: 4, sealed: false }));
    assert_eq!(store.stat(torn).unwrap(), None);
    store.seal().unwrap();
    assert_eq!(store.stat(good).unwrap(), Some(BlobInfo { size: 4, sealed: true }));
}
