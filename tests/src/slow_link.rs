//! A link before a Redis that can be slow, dead, cut off, or lead to another server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What the link does with what the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Hands it on.
    Whole,
    /// Hands it on after a while.
    Slow(Duration),
    /// Swallows everything, without a word. A connection that was met by this stays dead, even when the link is whole
    /// again: nobody tells its ends.
    Silent,
    /// Hands on half of an answer, and then no more. Such a connection stays dead, too.
    Truncated,
    /// Hands on half of an answer and resets the connection.
    Reset,
}

#[derive(Debug, Clone, Copy)]
struct State {
    mode: Mode,
    server: u16,
}

/// A running link; it ends with the runtime.
pub struct SlowLink {
    port: u16,
    state: Arc<watch::Sender<State>>,
    listener: Option<AbortHandle>,
}

async fn bind(port: u16) -> TcpListener {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap()
}

impl SlowLink {
    /// Starts one before a server's port.
    pub async fn start(server: u16) -> Self {
        let listener = bind(0).await;
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State { mode: Mode::Whole, server }));
        let mut link = Self { port, state, listener: None };
        link.accept(listener);
        link
    }

    fn accept(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = state.borrow().server;
                connections.spawn(carry(client, server, state.subscribe()));
            }
        });
        self.listener = Some(accepting.abort_handle());
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes what it does, for open connections, too.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// From now on new connections lead to another server.
    pub fn lead_to(&self, server: u16) {
        self.state.send_modify(|state| state.server = server);
    }

    /// Closes all connections and refuses any other.
    pub fn refuse(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
    }

    /// Takes connections again.
    pub async fn take_again(&mut self) {
        let listener = bind(self.port).await;
        self.accept(listener);
    }
}

async fn carry(client: TcpStream, server: u16, state: watch::Receiver<State>) {
    let Ok(upstream) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    client.set_nodelay(true).unwrap();
    upstream.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = upstream.into_split();
    // Either end that closes closes the other.
    tokio::select! {
        () = ask(from_client, to_server, state.clone()) => {}
        () = answer(from_server, to_client, state) => {}
    }
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if state.borrow().mode == Mode::Silent {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: watch::Receiver<State>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mode = state.borrow().mode;
        let said = match mode {
            Mode::Truncated | Mode::Reset => &buffer[..read / 2],
            Mode::Whole | Mode::Slow(_) | Mode::Silent => &buffer[..read],
        };
        if let Mode::Slow(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if mode == Mode::Silent {
            std::future::pending::<()>().await;
        }
        if to.write_all(said).await.is_err() {
            return;
        }
        match mode {
            Mode::Truncated => std::future::pending().await,
            Mode::Reset => return to.as_ref().set_zero_linger().unwrap(),
            Mode::Whole | Mode::Slow(_) | Mode::Silent => {}
        }
    }
}
