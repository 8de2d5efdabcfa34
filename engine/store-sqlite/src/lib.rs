//! engine/store-sqlite
