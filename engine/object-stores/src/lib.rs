//! Object stores: directories of the local file system ([`FsStore`]) and buckets of S3 and of what
//! speaks its language ([`S3Store`]). [`Stores`] opens either by its address.

mod fs;
mod read_only;
mod s3;
mod stores;

pub use fs::{FsStore, FsStores};
pub use read_only::ReadOnly;
pub use s3::{S3Credentials, S3Options, S3Store};
pub use stores::Stores;
