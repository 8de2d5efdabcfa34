//! A Redis of one's own, which may be treated badly.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use tempfile::TempDir;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A server on a socket in a directory of its own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    home: TempDir,
    url: String,
    process: Child,
}

impl Server {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let url = format!("redis+unix://{}/socket", home.path().display());
        let process = spawn(&home);
        Self { home, url, process }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.home);
    }

    pub(crate) async fn say(&self, command: &str) {
        let _: redis::Value = self.ask(command).await;
    }

    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut words = command.split(' ');
        let mut said = redis::cmd(words.next().unwrap());
        for word in words {
            said.arg(word);
        }
        said.query_async(&mut connection).await.unwrap()
    }

    /// Lets every client wait, and returns when it is over.
    pub(crate) async fn stand_still(&self, time: Duration) {
        self.say(&format!("CLIENT PAUSE {} ALL", time.as_millis()))
            .await;
        tokio::time::sleep(time).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(home: &TempDir) -> Child {
    let socket = home.path().join("socket");
    let _ = std::fs::remove_file(&socket);
    let process = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(home.path())
        .stdout(Stdio::null())
        .spawn();
    let process = process.expect("redis-server: ./x test installs it");
    let began = Instant::now();
    while !socket.exists() {
        assert!(began.elapsed() < START, "redis does not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
