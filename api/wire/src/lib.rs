//! Docker Engine API: types of every version, and a client.
