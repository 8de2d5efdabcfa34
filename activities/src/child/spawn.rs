use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use tokio::sync::oneshot;

/// What a child inherits of the environment. Everything else stays behind, above all secrets.
const KEPT: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "LLVM_PROFILE_FILE",
];

/// Beginnings of names that a child inherits: locale, and the switches of the media libraries.
const KEPT_PREFIXES: [&str; 6] = ["LC_", "GST_", "VIPS_", "G_", "ORC_", "DYLD_"];

/// Starts processes from one thread that lives as long as it. The parent-death signal of a child
/// fires when the *thread* that started it ends, and the threads of the runtime come and go.
#[derive(Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (requests, queue) = mpsc::channel::<Request>();
        std::thread::Builder::new()
            .name("tool-spawner".to_owned())
            .spawn(move || {
                for mut request in queue {
                    answer(request.command.spawn(), request.reply);
                }
            })?;
        Ok(Self { requests })
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.requests
            .send(Request { command, reply })
            .map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Hands a new child over. Nobody waits for it any more if the attempt was dropped meanwhile.
fn answer(spawned: io::Result<Child>, reply: oneshot::Sender<io::Result<Child>>) {
    if let Err(Ok(mut orphan)) = reply.send(spawned) {
        let _ = orphan.kill();
        let _ = orphan.wait();
    }
}

/// A command with pipes, a process group of its own and a clean environment.
pub(super) fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg0("telecine")
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_kept)))
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn is_kept(name: &str) -> bool {
    KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn secrets_stay_behind() {
        for name in [
            "TELECINE_KEKS",
            "AWS_SECRET_ACCESS_KEY",
            "DATABASE_URL",
            "SSH_AUTH_SOCK",
            "GITHUB_TOKEN",
        ] {
            assert!(!is_kept(name), "{name}");
        }
    }

    #[test]
    fn what_the_media_libraries_need_is_kept() {
        for name in ["PATH", "HOME", "LC_ALL", "GST_PLUGIN_PATH", "GST_DEBUG"] {
            assert!(is_kept(name), "{name}");
        }
    }
}
