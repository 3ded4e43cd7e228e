//! Certificates, keys, join tokens and mTLS of a node.
