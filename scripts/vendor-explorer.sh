#!/bin/sh
# Puts the libraries of the Explorer into src/http/explorer/page/vendor: what npm has under these versions, checked
# against the hashes of docs/DEPENDENCIES.md. Only for whoever changes the versions; building and serving take no npm.
#
# The browser resolves no bare names, so the one import of `preact` in its hooks becomes a relative one. The references
# to source maps, which are not served, go.
set -eu
cd "$(dirname "$0")/.."
to=$PWD/src/http/explorer/page/vendor
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"

fetch() {
  file=$(npm pack --silent "$1")
  echo "$2  $file" | sha256sum --check --quiet
  mkdir "${1%@*}"
  tar xzf "$file" -C "${1%@*}" --strip-components 1
}

fetch preact@10.29.8 b18cb0a457f3d43c7bb30391a74ade7d13e03bc6e77915e061c70c0fe1123299
fetch htm@3.1.1 2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90
mkdir -p "$to"
for pair in preact/dist/preact.module.js:preact.js preact/hooks/dist/hooks.module.js:hooks.js htm/dist/htm.module.js:htm.js; do
  sed -e 's|from"preact"|from"./preact.js"|' -e '/^\/\/# sourceMappingURL=/d' "${pair%:*}" >"$to/${pair#*:}"
done
{ cat preact/LICENSE; printf '\n----\nhtm, Apache License 2.0, Copyright 2018 Google LLC: see LICENSE of this repository for the text of the licence\n'; } >"$to/LICENSES.txt"
