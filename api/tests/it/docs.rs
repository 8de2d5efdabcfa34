//! The documentation says what the code does, and its links lead somewhere.

mod definitions;
mod error_codes;
mod findings;
mod links;
mod lint_rules;
mod tutorial;
mod warnings;
