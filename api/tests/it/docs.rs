//! The documentation says what the code does, and its links lead somewhere.

mod error_codes;
mod links;
