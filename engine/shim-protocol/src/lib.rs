//! Versioned protocol between shoal-shim and the engine.
