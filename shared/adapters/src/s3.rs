//! Published heads in S3, in a bucket whose versions nobody can delete for a time (Object Lock).
//!
//! The newest is listed first because keys count down. A locked object can still be hidden, by a newer version or by a
//! delete marker; so versions are listed, not objects, the first version is the one that counts, and whatever came
//! after it is told.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use domain::audit::head::{HeadStore, Kept};
use domain::error::PortError;
use domain::ports::{Page, PortResult, Step};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::aws;

mod reports;

pub use reports::S3Reports;

const SERVICE: &str = "S3";
const PREFIX: &str = "heads/";
/// Keys count down from here: twelve digits.
const TOP: u64 = 999_999_999_999;
/// Versions listed at a time: about what a publisher has to look at.
const PAGE: i32 = 32;
const READS_AT_ONCE: usize = 8;

/// A bucket of published heads.
#[derive(Debug, Clone)]
pub struct S3Heads {
    client: Client,
    bucket: String,
}

impl S3Heads {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { client: Client::new(config), bucket }
    }

    async fn read(&self, key: &str, version: &str) -> PortResult<Option<String>> {
        let object = self.client.get_object().bucket(&self.bucket).key(key).version_id(version).send().await;
        let object = match object {
            Ok(object) => object,
            Err(error) if matches!(error.code(), Some("NoSuchKey" | "NoSuchVersion")) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bytes = object.body.collect().await.map_err(|cause| unavailable(cause.to_string()))?;
        Ok(String::from_utf8(bytes.to_vec()).ok())
    }
}

fn key_of(number: u64) -> String {
    format!("{PREFIX}{:012}.json", TOP.saturating_sub(number))
}

fn number_of(key: &str) -> Option<u64> {
    let digits = key.strip_prefix(PREFIX)?.strip_suffix(".json")?;
    let number = TOP.checked_sub(digits.parse().ok()?)?;
    (key_of(number) == key).then_some(number)
}

fn unavailable(cause: String) -> PortError {
    PortError::Unavailable { service: SERVICE, cause }
}

fn failed<E, R>(error: SdkError<E, R>) -> PortError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    aws::failed(SERVICE, error)
}

/// What is listed under a key.
#[derive(Default)]
struct Versions {
    count: usize,
    first: Option<(Option<DateTime>, String)>,
}

#[async_trait]
impl HeadStore for S3Heads {
    async fn publish(&self, number: u64, text: &str) -> PortResult<Step> {
        let put = self.client.put_object().bucket(&self.bucket).key(key_of(number)).if_none_match("*");
        let body = ByteStream::from(text.as_bytes().to_vec());
        match put.content_type("application/json").body(body).send().await {
            Ok(_) => Ok(Step::Taken),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(Step::Lost),
            Err(error) => Err(failed(error)),
        }
    }

    async fn newest_first(&self, from: Option<&str>) -> PortResult<Page<Kept>> {
        let list = self.client.list_object_versions().bucket(&self.bucket).prefix(PREFIX).max_keys(PAGE);
        let listed = list.set_key_marker(from.map(str::to_owned)).send().await.map_err(failed)?;
        let mut keys: BTreeMap<String, Versions> = BTreeMap::new();
        for version in listed.versions() {
            let Some((key, id)) = version.key().zip(version.version_id()) else { continue };
            let versions = keys.entry(key.to_owned()).or_default();
            versions.count += 1;
            let this = (version.last_modified().copied(), id.to_owned());
            // Those of one second come the newest first.
            if versions.first.as_ref().is_none_or(|first| this.0 <= first.0) {
                versions.first = Some(this);
            }
        }
        for key in listed.delete_markers().iter().filter_map(|marker| marker.key()) {
            keys.entry(key.to_owned()).or_default().count += 1;
        }
        let mut next = None;
        if listed.is_truncated() == Some(true) {
            // The last key may have more versions on the next page: it is read from there, unless it fills this one.
            if keys.len() > 1 {
                keys.pop_last();
            }
            next = keys.keys().next_back().cloned();
        }
        let ours = keys.into_iter().filter_map(|(key, versions)| Some((number_of(&key)?, key, versions)));
        let reads = ours.map(|(number, key, versions)| async move {
            let text = match versions.first {
                Some((_, id)) => self.read(&key, &id).await?,
                None => None,
            };
            PortResult::Ok(Kept { number, text, overwritten: versions.count > 1 })
        });
        // Boxed, or the compiler does not see that these are futures of one kind.
        let reads: Vec<BoxFuture<'_, PortResult<Kept>>> = reads.map(FutureExt::boxed).collect();
        let items = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(Page { items, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_number_is_the_first_key_and_other_keys_are_none_of_ours() {
        assert!(key_of(2) < key_of(1) && key_of(10) < key_of(9));
        assert_eq!(number_of(&key_of(17)), Some(17));
        for other in ["heads/17.json", "heads/999999999982", "heads/1999999999982.json", "report.json"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
