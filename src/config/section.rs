//! The macro that declares a section of the configuration: its struct, defaults, documentation and reader in one
//! place, so that none can be forgotten.

/// One key of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Empty for a top-level key.
    pub section: &'static str,
    pub section_doc: &'static str,
    pub name: &'static str,
    pub doc: String,
    pub default: toml::Value,
}

impl Key {
    /// The key as flags and messages write it.
    #[must_use]
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn environment(&self) -> String {
        let path = self.path().replace('.', "__");
        format!("LATENTD_{}", path.to_uppercase())
    }
}

macro_rules! section {
    (
        #[doc = $section_doc:literal]
        pub struct $name:ident in $section:literal {
            $( $(#[doc = $doc:literal])+ $field:ident : $type:ty = $default:expr, )+
        }
    ) => {
        #[doc = $section_doc]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $name {
            pub(crate) fn keys() -> Vec<$crate::config::Key> {
                vec![$( $crate::config::Key {
                    section: $section,
                    section_doc: $section_doc,
                    name: stringify!($field),
                    doc: [$($doc),+].concat(),
                    default: $crate::config::section::default_value::<$type>($default),
                }, )+]
            }

            /// Reads the section's keys out of its table; what does not fit is a violation and keeps its default.
            pub(crate) fn read(table: &toml::Table, violations: &mut Vec<String>) -> Self {
                let mut section = Self::default();
                let mut given = $crate::config::Section::secretive($section, table.clone());
                $(
                    if let Some(value) = given.optional(stringify!($field)) {
                        section.$field = value;
                    }
                )+
                violations.extend(given.into_violations());
                section
            }
        }
    };
}

pub(crate) use section;

/// A default as TOML shows it.
pub(crate) fn default_value<T: serde::Serialize>(value: T) -> toml::Value {
    // every type of a key is a number, a boolean or a text
    toml::Value::try_from(value).unwrap_or_else(|_| toml::Value::String(String::new()))
}
