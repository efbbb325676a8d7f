use crate::error::{Error, Result};

/// A vector served or stored: at least one number, all of them finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Vec<f32>);

impl Embedding {
    pub fn new(values: Vec<f32>) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid_request("a vector has at least one number"));
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Self(values)),
            Some(at) => Err(Error::invalid_request(format!("number {at} of the vector is not finite"))),
        }
    }

    /// A vector for a collection of this dimension.
    pub fn of_dimension(values: Vec<f32>, dimension: usize) -> Result<Self> {
        if values.len() != dimension {
            return Err(Error::invalid_request(format!(
                "the vector has {} numbers, the collection's have {dimension}",
                values.len()
            )));
        }
        Self::new(values)
    }

    /// Scales to unit L2 length; a vector of zeros stays one.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        l2_normalize(&mut self.0);
        self
    }

    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    #[must_use]
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.0
    }
}

/// Divides by the L2 norm, which is summed in f64 (so that huge and tiny numbers survive); zeros stay zeros.
fn l2_normalize(values: &mut [f32]) {
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if norm > 0.0 {
        for value in values {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_with_nan_names_the_place() {
        let error = Embedding::new(vec![0.0, f32::NAN]).unwrap_err();
        assert!(error.message().contains("number 1"), "{error}");
    }

    #[test]
    fn normalising_huge_tiny_and_zero_vectors_stays_finite() {
        for scale in [1e-30_f32, 1.0, 1e30] {
            let vector = Embedding::new(vec![3.0 * scale, 4.0 * scale]).unwrap().normalized();
            assert!((vector.as_slice()[0] - 0.6).abs() < 1e-6 && (vector.as_slice()[1] - 0.8).abs() < 1e-6);
        }
        assert_eq!(Embedding::new(vec![0.0; 3]).unwrap().normalized().into_vec(), [0.0; 3]);
    }
}
