//! What is known about this checkout's stack from one run to the next: `.local/state.json`.

use std::fs::{self, File};

use serde_json::{Map, Value, json};

use crate::failure::{Context, Result};
use crate::process::Started;
use crate::settings::Settings;

/// The state of the stack. Everything but the processes is forgotten when the local AWS, which keeps nothing, ends.
#[derive(Default)]
pub struct State {
    /// The local AWS.
    pub aws: Option<Started>,
    /// Redis.
    pub redis: Option<Started>,
    /// Port of the local AWS.
    pub aws_port: u16,
    /// Port of Redis.
    pub redis_port: u16,
    /// Issuer, client and people, once made.
    pub identity: Option<Value>,
    /// What was deployed last (see [`crate::deploy`]).
    pub deployed: Option<String>,
    /// The deployment's outputs.
    pub outputs: Option<Map<String, Value>>,
    /// Those of the sample API.
    pub sample_outputs: Option<Map<String, Value>>,
    /// Whether the demo company is loaded.
    pub company: bool,
}

impl State {
    /// Reads the state; a missing or unreadable file is an empty state.
    pub fn load(settings: &Settings) -> Self {
        let text = fs::read_to_string(settings.local.join("state.json")).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let port = |name: &str| value[name].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        Self {
            aws: Started::from_json(&value["aws"]),
            redis: Started::from_json(&value["redis"]),
            aws_port: port("aws_port"),
            redis_port: port("redis_port"),
            identity: value["identity"].is_object().then(|| value["identity"].clone()),
            deployed: value["deployed"].as_str().map(str::to_owned),
            outputs: value["outputs"].as_object().cloned(),
            sample_outputs: value["sample_outputs"].as_object().cloned(),
            company: value["company"] == json!(true),
        }
    }

    /// Writes the state, whole or not at all.
    pub fn save(&self, settings: &Settings) -> Result<()> {
        let value = json!({
            "aws": self.aws.as_ref().map(Started::to_json),
            "redis": self.redis.as_ref().map(Started::to_json),
            "aws_port": self.aws_port,
            "redis_port": self.redis_port,
            "identity": self.identity,
            "deployed": self.deployed,
            "outputs": self.outputs,
            "sample_outputs": self.sample_outputs,
            "company": self.company,
        });
        write(settings, "state.json", &value)
    }

    /// Address of the local AWS.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.aws_port)
    }
}

/// Writes a file of `.local` by renaming, so that readers never see half of it.
pub fn write(settings: &Settings, name: &str, value: &Value) -> Result<()> {
    let path = settings.local.join(name);
    let draft = settings.local.join(format!("{name}.new"));
    fs::write(&draft, format!("{value:#}\n")).context(draft.display())?;
    fs::rename(&draft, &path).context(path.display())
}

/// Held while the stack is changed: two commands in one checkout wait for each other.
pub fn lock(settings: &Settings) -> Result<File> {
    fs::create_dir_all(&settings.local).context(settings.local.display())?;
    let path = settings.local.join("lock");
    let file = File::create(&path).context(path.display())?;
    if file.try_lock().is_err() {
        crate::ui::note("another command of this checkout is at work; waiting for it");
        file.lock().context(path.display())?;
    }
    Ok(file)
}
