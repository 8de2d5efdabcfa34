//! What an activity is made of. Start with [`Activity`], then look at [`Context`].

pub use telecine_engine::activity::{
    Activity, ActivityError, Context, ErrorClass, MediaSpan, Progress, PublicationMove,
    RegisterError, Registry, Usage,
};
pub use telecine_engine::objects::{
    Artifact, MEDIA_SCHEME, ObjectError, ObjectMeta, ObjectStore, SourceStore,
};
