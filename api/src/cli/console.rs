use std::io::{self, IsTerminal as _, Write as _};

use indicatif::MultiProgress;

use super::output::printable;

/// Standard error: notes, progress and log lines share it without breaking each other's lines. Cheap
/// to clone.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    bars: MultiProgress,
    interactive: bool,
}

impl Default for Console {
    fn default() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            bars: MultiProgress::new(),
            interactive: io::stderr().is_terminal() && !dumb,
        }
    }
}

impl Console {
    /// Writes a line. Nobody may be reading, which is not our concern.
    pub(crate) fn note(&self, line: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr(), "{}", printable(line));
        });
    }

    /// Whether progress can be drawn in place.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Where progress is drawn.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// Writes log lines between the bars.
impl io::Write for Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
