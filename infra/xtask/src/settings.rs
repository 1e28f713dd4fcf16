//! Where everything is. The only module that reads the environment.

#![expect(clippy::disallowed_methods, reason = "this is the tool's one place for configuration")]

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

/// Paths and switches of this run.
pub struct Settings {
    /// The checkout.
    pub root: PathBuf,
    /// What belongs to this checkout's stack and is never committed.
    pub local: PathBuf,
    /// Where Python and cargo tools are installed.
    pub tools: PathBuf,
    /// Where tools that are not needed to run the system are installed: they take minutes to compile.
    pub shared_tools: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The cargo that runs this.
    pub cargo: PathBuf,
    /// The search path for programs.
    pub path: OsString,
    /// The user's home.
    pub home: PathBuf,
}

impl Settings {
    /// Reads the environment.
    pub fn read() -> Result<Self> {
        let manifest =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .ancestors()
            .nth(2)
            .map(Path::to_path_buf)
            .ok_or_else(|| Failure::new("start this with `cargo xtask` from inside the checkout"))?;
        let local = root.join(".local");
        let home = env::var_os("HOME").map_or_else(|| root.clone(), PathBuf::from);
        let chosen_tools = env::var_os("BATCH_LOGOUT_TOOLS").map(PathBuf::from);
        Ok(Self {
            tools: chosen_tools.clone().unwrap_or_else(|| local.join("tools")),
            shared_tools: chosen_tools.unwrap_or_else(|| home.join(".cache/batch-logout/tools")),
            target: env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir)),
            cargo: env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from),
            path: env::var_os("PATH").unwrap_or_default(),
            home,
            local,
            root,
        })
    }

    /// Where cargo puts the binaries of its default profile.
    pub fn binaries(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// The folder for logs of everything started or installed.
    pub fn logs(&self) -> PathBuf {
        self.local.join("log")
    }

    /// What tests and tools read about the stack.
    pub fn stack_file(&self) -> PathBuf {
        self.local.join("stack.json")
    }

    /// A program on the search path.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path).map(|folder| folder.join(name)).find(|path| path.is_file())
    }
}
