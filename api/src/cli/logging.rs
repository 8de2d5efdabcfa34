use tracing_subscriber::EnvFilter;

use super::console::Console;
use crate::config::{Config, LogFormat};

/// Starts logging to standard error.
pub(super) fn start(config: &Config, console: &Console) {
    let console = console.clone();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log))
        .with_ansi(super::output::colours(console.is_interactive()))
        .with_writer(move || console.clone());
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
