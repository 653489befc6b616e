//! GetInstanceUefiData.

use super::attribute::find;
use super::show::text;
use crate::action::{Call, Read};
use store::View;
use wire::ApiError;
use wire::shapes::ec2 as shapes;

pub(super) struct GetInstanceUefiData;

impl Read for GetInstanceUefiData {
    const SERVICE: &'static str = "ec2";
    const NAME: &'static str = "GetInstanceUefiData";
    type Input = shapes::GetInstanceUefiDataRequest;
    type Output = shapes::GetInstanceUefiDataResult;

    /// Every guest starts by BIOS or its kernel, and so has no UEFI variables: AWS answers for such an instance without data.
    fn run(_: &Call, view: View<'_>, input: Self::Input) -> Result<Self::Output, ApiError> {
        let instance = find(view, input.instance_id.as_deref())?;
        Ok(shapes::GetInstanceUefiDataResult { instance_id: text(&instance.id), uefi_data: None })
    }
}
