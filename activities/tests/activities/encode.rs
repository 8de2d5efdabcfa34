//! The encoders on clips that ffmpeg makes, judged by ffmpeg and ffprobe. The engine runs these
//! tools in child processes; here they run in the test's own.

mod audio;
mod clips;
mod high_range;
mod run;
mod seen;
mod sizes;
mod video;
