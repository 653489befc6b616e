//! GetConsoleOutput.

use super::show::{text, time};
use crate::action::{Desk, Slow, internal};
use crate::ec2::common::missing;
use crate::ec2::kind::INSTANCE;
use base64::Engine as _;
use model::ids::InstanceId;
use model::instance::Instance;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

pub(super) struct GetConsoleOutput;

impl Slow for GetConsoleOutput {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "GetConsoleOutput";
    const WRITES: bool = false;
    type Input = shapes::GetConsoleOutputRequest;
    type Output = shapes::GetConsoleOutputResult;

    /// With or without `Latest`, what the guest wrote until now: there is no older copy to answer from.
    async fn run(desk: Desk, input: Self::Input) -> Result<Self::Output, ApiError> {
        let id: InstanceId = INSTANCE.parse(input.instance_id.as_deref().ok_or_else(|| missing("InstanceId"))?)?;
        let snapshot = desk.store.snapshot();
        if snapshot.of(&desk.call.scope).get::<Instance>(&id).is_none() {
            return Err(INSTANCE.not_found(&[&id]));
        }
        let console = desk.ports.console(&id).await.map_err(|e| internal(&e))?;
        let written = console.as_ref().map_or(desk.call.now, |c| c.written);
        Ok(shapes::GetConsoleOutputResult {
            instance_id: text(&id),
            timestamp: Some(time(written)),
            output: console.map(|c| base64::engine::general_purpose::STANDARD.encode(c.bytes)),
        })
    }
}
