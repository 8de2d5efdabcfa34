//! The documentation says what the code does, and its links lead somewhere.

mod definitions;
mod error_codes;
mod links;
mod lint_rules;
