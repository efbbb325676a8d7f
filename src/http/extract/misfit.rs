//! What stands where it does not fit, as an error of its own place instead of the whole body's.

use serde::de::{IgnoredAny, SeqAccess};

use crate::error::{Error, ErrorKind};

/// The visits of shapes that do not fit: what stands there is read past, and the visitor's `misfit` is the value.
macro_rules! misfits {
    ($($shape:ident),+) => { $(misfits!(@$shape);)+ };
    (@scalars) => {
        fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }
    };
    (@numbers) => {
        fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }

        fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }
    };
    (@text) => {
        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok(self.misfit())
        }
    };
    (@list) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(self.misfit())
        }
    };
    (@object) => {
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(self.misfit())
        }
    };
}

pub(super) use misfits;

/// Elements that a list is read to, however high its own limit is set: each keeps memory beside the bytes it came in.
pub(super) const MAX_ELEMENTS: usize = 10_000;

/// Reads the rest of a list that is too long, and says so.
pub(super) fn too_many<'de, A: SeqAccess<'de>>(list: &mut A) -> Result<Error, A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    let text = format!("more than {MAX_ELEMENTS} elements in one list");
    Ok(Error::new(ErrorKind::PayloadTooLarge, text))
}
