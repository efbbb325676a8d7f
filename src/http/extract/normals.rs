//! Images for a calibration, each with its group and its label, or the collection whose images they are.

use serde::de::DeserializeOwned;

use super::{
    body::{FormRules, FromFields, Images},
    fields::Fields,
};
use crate::{
    error::Result,
    service::{Image, RoiRequest},
};

/// What a calibration is made of: images, with what stands beside each of them in a form, and the options.
#[derive(Debug)]
pub(in crate::http) struct NormalsRequest<O> {
    /// None where the request sends none: the options then name a collection.
    pub(in crate::http) images: Option<Vec<Image>>,
    /// The part of the images that counts.
    pub(in crate::http) roi: Option<RoiRequest>,
    /// The parts `group` of a form, by order.
    pub(in crate::http) groups: Vec<String>,
    /// The parts `label` of a form, by order.
    pub(in crate::http) labels: Vec<String>,
    pub(in crate::http) options: O,
}

impl<O: DeserializeOwned + Send + 'static> FromFields for NormalsRequest<O> {
    const RULES: FormRules = FormRules {
        json: &["images", "image", "roi"],
        parts: &["image", "roi"],
        repeated: &["group", "label"],
        images: Images::Possible,
    };

    fn from_fields(mut fields: Fields<'_>) -> Result<Self> {
        let (groups, labels) = (fields.take_texts("group"), fields.take_texts("label"));
        let (mut content, options) = fields.split()?;
        Ok(Self { images: content.images()?, roi: content.roi()?, groups, labels, options })
    }
}
