use super::*;

use Capability::{Denoise, Embed, Generate, Inpaint, Interpolate, Reconstruct, Score};
use GraphRole::{Anomaly, Autoencoder, Decoder, Encoder, Masked};

#[test]
fn the_capability_table_is_this() {
    let table: [(Family, &[GraphRole], bool, &[Capability]); 15] = [
        (Family::Autoencoder, &[Encoder, Decoder], false, &[Embed, Reconstruct, Score]),
        (Family::Autoencoder, &[Encoder, Decoder], true, &[Embed, Reconstruct, Denoise, Score]),
        (Family::Autoencoder, &[Autoencoder], false, &[Reconstruct, Score]),
        (Family::Autoencoder, &[Autoencoder], true, &[Reconstruct, Denoise, Score]),
        (Family::Autoencoder, &[Encoder, Autoencoder], false, &[Embed, Reconstruct, Score]),
        (Family::Autoencoder, &[Encoder, Decoder, Autoencoder], true, &[Embed, Reconstruct, Denoise, Score]),
        (Family::Contrastive, &[Encoder], false, &[Embed]),
        (Family::Contrastive, &[Encoder], true, &[Embed]),
        (Family::MaskedAutoencoder, &[Encoder, Masked], false, &[Embed, Reconstruct, Inpaint, Score]),
        (Family::MaskedAutoencoder, &[Encoder, Masked], true, &[Embed, Reconstruct, Inpaint, Score]),
        (Family::Variational, &[Encoder, Decoder], false, &[Embed, Reconstruct, Generate, Interpolate, Score]),
        (Family::Variational, &[Encoder, Decoder], true, &[Embed, Reconstruct, Denoise, Generate, Interpolate, Score]),
        (Family::Anomaly, &[Anomaly], false, &[Score]),
        (Family::Anomaly, &[Encoder], false, &[Embed, Score]),
        (Family::Anomaly, &[Encoder, Anomaly], false, &[Embed, Score]),
    ];
    for (family, graphs, denoises, expected) in table {
        assert_eq!(family.capabilities(graphs, denoises), expected, "{family} of {graphs:?}, denoises = {denoises}");
    }
}

#[test]
fn names_are_those_of_the_manifest() {
    for family in Family::ALL {
        assert_eq!(serde_json::to_value(family).unwrap(), family.as_str());
    }
    for capability in Capability::ALL {
        assert_eq!(serde_json::to_value(capability).unwrap(), capability.as_str());
    }
    for role in GraphRole::ALL {
        assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
    }
}
