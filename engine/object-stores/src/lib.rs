//! engine/object-stores
