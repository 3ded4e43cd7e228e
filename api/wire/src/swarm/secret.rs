//! Secrets and configs.

use super::{Driver, Labels, Meta};

wire! {
    struct Secret {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: SecretSpec,
    }

    struct SecretSpec {
        opt name: String,
        all labels: Labels,
        /// Base64; never in answers.
        opt data: String,
        opt driver: Option<Driver>,
        opt templating: Option<Driver>,
    }

    struct Config {
        #[serde(rename = "ID")]
        all id: String,
        #[serde(flatten)]
        all meta: Meta,
        all spec: ConfigSpec,
    }

    struct ConfigSpec {
        opt name: String,
        all labels: Labels,
        /// Base64.
        opt data: String,
        opt templating: Option<Driver>,
    }
}
