//! Object stores: today directories of the local file system ([`FsStore`]).

mod fs;

pub use fs::{FsStore, FsStores};
