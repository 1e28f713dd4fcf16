//! A queue that takes every message and keeps none, for work that nobody is to do.

/// Starts one, and says where it is.
pub async fn sink() -> String {
    let answer = |body: axum::body::Bytes| async move {
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let entries = asked["Entries"].as_array().cloned().unwrap_or_default();
        let taken: Vec<serde_json::Value> = entries
            .iter()
            .map(|entry| serde_json::json!({ "Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": "" }))
            .collect();
        axum::Json(serde_json::json!({ "Successful": taken, "Failed": [], "MessageId": "m" }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = axum::Router::new().fallback(axum::routing::post(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}
