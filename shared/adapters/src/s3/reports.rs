//! Reports in S3: each object under its name, written once unless it is a draft.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use domain::error::PortError;
use domain::ports::{PortResult, Step};
use domain::report::ReportStore;

use super::{failed, unavailable};

/// A bucket of reports.
#[derive(Debug, Clone)]
pub struct S3Reports {
    client: Client,
    bucket: String,
}

impl S3Reports {
    /// Builds the client once, before the first event.
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        Self { client: Client::new(config), bucket }
    }
}

fn body(text: &str) -> ByteStream {
    ByteStream::from(text.as_bytes().to_vec())
}

#[async_trait]
impl ReportStore for S3Reports {
    async fn read(&self, name: &str) -> PortResult<Option<String>> {
        let object = match self.client.get_object().bucket(&self.bucket).key(name).send().await {
            Ok(object) => object,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bytes = object.body.collect().await.map_err(|cause| unavailable(cause.to_string()))?;
        let corrupt =
            |cause: std::string::FromUtf8Error| PortError::Corrupt { service: "S3", cause: cause.to_string() };
        String::from_utf8(bytes.to_vec()).map(Some).map_err(corrupt)
    }

    async fn keep(&self, name: &str, media_type: &str, text: &str) -> PortResult<Step> {
        let put = self.client.put_object().bucket(&self.bucket).key(name).if_none_match("*");
        match put.content_type(media_type).body(body(text)).send().await {
            Ok(_) => Ok(Step::Taken),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(Step::Lost),
            Err(error) => Err(failed(error)),
        }
    }

    async fn replace(&self, name: &str, text: &str) -> PortResult<()> {
        let put = self.client.put_object().bucket(&self.bucket).key(name).content_type("application/json");
        put.body(body(text)).send().await.map_err(failed)?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> PortResult<()> {
        self.client.delete_object().bucket(&self.bucket).key(name).send().await.map_err(failed)?;
        Ok(())
    }
}
