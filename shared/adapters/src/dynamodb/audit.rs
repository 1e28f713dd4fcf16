//! The audit trail. Entries are put where nothing is yet; the functions' roles allow no more than that.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::Put;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use domain::audit::{AuditLog, Entry};
use domain::ports::PortResult;

use super::Dynamo;
use super::item::{self, Item, failed, key, s};

const NEW: &str = "attribute_not_exists(pk)";

fn write(entry: &Entry) -> PortResult<Item> {
    let day = entry.at.format("%Y-%m-%d");
    // Milliseconds of this age have thirteen digits, so that the order of texts is that of times.
    let mut item = key(format!("A#{day}"), format!("{:013}#{}", entry.at.timestamp_millis(), entry.id));
    item.insert("entry".to_owned(), item::json(entry)?);
    if let Some(job) = &entry.job_id {
        item.insert("job_id".to_owned(), s(job.as_str()));
    }
    Ok(item)
}

/// An entry as a part of a transaction.
pub(super) fn put(table: &str, entry: &Entry) -> PortResult<PutBuilder> {
    Ok(Put::builder().table_name(table).set_item(Some(write(entry)?)).condition_expression(NEW))
}

#[async_trait]
impl AuditLog for Dynamo {
    async fn append(&self, entry: &Entry) -> PortResult<()> {
        let put = self.client.put_item().table_name(&self.tables.audit).set_item(Some(write(entry)?));
        put.condition_expression(NEW).send().await.map_err(failed)?;
        Ok(())
    }
}
