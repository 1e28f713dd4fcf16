//! Where a request came from, as the gateway reports it: what a caller claims in a header is not asked.

use domain::audit::Origin;
use http::{Request, header};
use lambda_http::request::RequestContext;

/// The origin of a request.
pub fn of<B>(request: &Request<B>) -> Origin {
    let source_ip = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        _ => None,
    };
    let user_agent = request.headers().get(header::USER_AGENT);
    let context = request.extensions().get::<lambda_http::Context>();
    Origin {
        source_ip,
        // Some programs name themselves in other scripts than a header's.
        user_agent: user_agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
        request_id: context.map(|context| context.request_id.clone()),
    }
}
