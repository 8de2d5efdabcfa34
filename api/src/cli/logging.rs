use tracing_subscriber::EnvFilter;

use super::console::Console;
use crate::config::{Config, LogFormat};

/// Starts logging to standard error.
pub(super) fn start(config: &Config, console: &Console) {
    let console = console.clone();
    let lines = tracing_subscriber::fmt()
        // What apalis says of its connection does not name Redis; what is said of that here does.
        .with_env_filter(EnvFilter::new(format!("apalis_core=off,{}", config.log)))
        .with_ansi(super::output::colours(console.is_interactive()))
        .with_writer(move || console.clone());
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
