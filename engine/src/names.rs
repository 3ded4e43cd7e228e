//! Container names: which are allowed, random ones, and the register that keeps them unique. Pure, besides
//! the register's short mutex.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use shoal_base::random::Random;
use shoal_model::ContainerId;

/// Adjectives of random names.
const ADJECTIVES: &[&str] = &[
    "able", "agile", "amber", "apt", "avid", "balmy", "bold", "brave", "breezy", "bright", "brisk",
    "calm", "candid", "cheery", "clear", "clever", "coral", "cosy", "crisp", "curious", "daring",
    "deft", "eager", "early", "earnest", "easy", "fair", "fearless", "fleet", "fluent", "fond",
    "frank", "fresh", "gentle", "glad", "golden", "grand", "hale", "handy", "happy", "hardy",
    "hearty", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow",
    "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "plucky", "polite", "proud",
    "quick", "quiet", "ready", "rosy", "sandy", "serene", "sharp", "silver", "sincere", "smart",
    "snug", "sober", "solid", "spry", "steady", "stoic", "sunny", "swift", "tidal", "tidy",
    "tranquil", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty", "zesty",
];

/// Surnames of random names: people of the sea, of maps, of engines and of numbers.
const SURNAMES: &[&str] = &[
    "abel",
    "agassiz",
    "amundsen",
    "baret",
    "banks",
    "beaufort",
    "bering",
    "bowditch",
    "brunel",
    "cabot",
    "carson",
    "cartier",
    "cauchy",
    "coleman",
    "cook",
    "cousteau",
    "darwin",
    "davis",
    "diesel",
    "drake",
    "earle",
    "ekman",
    "erikson",
    "euler",
    "ferrel",
    "fitzroy",
    "fourier",
    "franklin",
    "frobisher",
    "fuchs",
    "gauss",
    "germain",
    "greely",
    "halley",
    "hansen",
    "harrison",
    "hensen",
    "heyerdahl",
    "hooke",
    "hudson",
    "humboldt",
    "huxley",
    "johnson",
    "kelvin",
    "lamb",
    "laplace",
    "leavitt",
    "lovelace",
    "magellan",
    "marsili",
    "maury",
    "maxwell",
    "mercator",
    "mitchell",
    "munk",
    "nansen",
    "newcomen",
    "noether",
    "parry",
    "peary",
    "piccard",
    "polo",
    "ptolemy",
    "pytheas",
    "raleigh",
    "rossby",
    "sabine",
    "scoresby",
    "shackleton",
    "steno",
    "stevenson",
    "stokes",
    "sverdrup",
    "tasman",
    "tharp",
    "thomson",
    "torrey",
    "turing",
    "vancouver",
    "verne",
    "walker",
    "watt",
    "weddell",
    "wegener",
    "wilkes",
    "young",
    "zheng",
];

/// How often a random name is drawn before a number is appended.
const DRAWS_MAX: usize = 8;

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has other characters, or is too short.
    #[error("invalid container name `{name}`: only [a-zA-Z0-9][a-zA-Z0-9_.-]+ is allowed")]
    Invalid {
        /// As given.
        name: String,
    },
    /// Somebody has it.
    #[error("container name `{name}` is taken by container `{by}`")]
    Taken {
        /// Without slash.
        name: String,
        /// Who has it.
        by: ContainerId,
    },
}

/// Checks a name as the user wrote it and strips its leading slash.
///
/// # Errors
/// When it does not match `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
///
/// Source: moby `daemon/names/names.go`.
pub fn validate(name: &str) -> Result<&str, Error> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut characters = bare.bytes();
    let first = characters.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bare.len() > 1
        && characters
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest { Ok(bare) } else { Err(Error::Invalid { name: name.to_owned() }) }
}

/// Draws `adjective_surname`; `numbered` appends a digit.
fn draw(random: &dyn Random, attempt: usize) -> String {
    let mut bytes = [0; 5];
    random.fill(&mut bytes);
    let pick = |list: &'static [&'static str], high: u8, low: u8| {
        list[usize::from(u16::from_be_bytes([high, low])) % list.len()]
    };
    let adjective = pick(ADJECTIVES, bytes[0], bytes[1]);
    let surname = pick(SURNAMES, bytes[2], bytes[3]);
    if attempt < DRAWS_MAX {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{}", u16::from(bytes[4]) + 256 * u16::from(bytes[1]))
    }
}

/// Who has which name. A name is reserved before anything else of a container exists.
#[derive(Debug, Default)]
pub struct Register {
    names: Mutex<BTreeMap<String, ContainerId>>,
}

impl Register {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ContainerId>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a valid name.
    ///
    /// # Errors
    /// When another container has it.
    pub fn reserve(&self, name: &str, id: &ContainerId) -> Result<(), Error> {
        let mut names = self.lock();
        match names.get(name) {
            Some(by) if by != id => Err(Error::Taken { name: name.to_owned(), by: by.clone() }),
            _ => {
                names.insert(name.to_owned(), id.clone());
                Ok(())
            }
        }
    }

    /// Reserves a random free name.
    pub fn reserve_random(&self, random: &dyn Random, id: &ContainerId) -> String {
        for attempt in 0.. {
            let name = draw(random, attempt);
            if self.reserve(&name, id).is_ok() {
                return name;
            }
        }
        unreachable!("the range has no end")
    }

    /// Gives a name back if `id` has it.
    pub fn release(&self, name: &str, id: &ContainerId) {
        let mut names = self.lock();
        if names.get(name) == Some(id) {
            names.remove(name);
        }
    }

    /// Who has `name`.
    pub fn get(&self, name: &str) -> Option<ContainerId> {
        self.lock().get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicU8);
    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            let next = self.0.fetch_add(1, Ordering::Relaxed);
            bytes.fill(next / 10);
        }
    }

    fn id(number: u8) -> ContainerId {
        ContainerId::from_bytes([number; 32])
    }

    #[test]
    fn names_follow_dockers_rule() {
        assert_eq!(validate("/web.1_a-b"), Ok("web.1_a-b"));
        assert_eq!(validate("ab"), Ok("ab"));
        for name in ["", "/", "a", "_ab", "a b", "a/b", "ä1", "//ab"] {
            assert_eq!(validate(name), Err(Error::Invalid { name: name.to_owned() }), "{name}");
        }
    }

    #[test]
    fn a_name_has_one_owner() {
        let register = Register::default();
        register.reserve("web", &id(1)).unwrap();
        register.reserve("web", &id(1)).unwrap();
        assert_eq!(
            register.reserve("web", &id(2)),
            Err(Error::Taken { name: "web".to_owned(), by: id(1) })
        );
        register.release("web", &id(2));
        assert_eq!(register.get("web"), Some(id(1)));
        register.release("web", &id(1));
        assert_eq!(register.get("web"), None);
    }

    #[test]
    fn a_busy_draw_gets_a_number() {
        let register = Register::default();
        let random = Counting::default();
        assert_eq!(register.reserve_random(&random, &id(1)), "able_abel");
        assert_eq!(register.reserve_random(&random, &id(2)), "able_abel0");
    }

    #[test]
    fn words_are_sorted_out_and_valid() {
        for word in ADJECTIVES.iter().chain(SURNAMES) {
            assert!(
                validate(word).is_ok() && word.bytes().all(|b| b.is_ascii_lowercase()),
                "{word}"
            );
        }
    }
}
