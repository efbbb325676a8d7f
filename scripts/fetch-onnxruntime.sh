#!/usr/bin/env bash
# Fetch the ONNX Runtime library that latentd loads at run time, and print its path.
#
#   scripts/fetch-onnxruntime.sh
#
# The library is taken out of the `onnxruntime` wheel, which pip downloads by package name with the
# version and hashes of scripts/onnxruntime.txt; pip's own settings (index, proxy, certificates)
# apply. It is unpacked into .ort/onnxruntime-VERSION-OS-ARCH/ and .ort/lib is made to point there.
# Where that has been done already, the call changes nothing and takes a few milliseconds.
#
#   DEVICE      which build: cpu (the default)
#   ORT_DIR     where to unpack, an absolute path (default: .ort beside the Cargo.toml)
#   FORCE_OS    take another platform's library: Linux or Darwin, as `uname -s` prints it
#   FORCE_ARCH  x86_64, aarch64 or arm64, as `uname -m` prints it
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=scripts/onnxruntime.txt
folder=${ORT_DIR:-$PWD/.ort}

fail() {
  echo "fetch-onnxruntime: $1" >&2
  exit 1
}

case ${DEVICE:-cpu} in
  cpu) ;;
  cuda*) fail "DEVICE=${DEVICE} is not there yet: only the CPU build can be fetched; run with DEVICE=cpu" ;;
  *) fail "DEVICE=${DEVICE} is not known; it can be cpu" ;;
esac

version=
while read -r line; do
  case $line in onnxruntime==*) line=${line#onnxruntime==} version=${line%% *} ;; esac
done <"$requirements"
[ -n "$version" ] || fail "$requirements names no version of onnxruntime"

platform=${FORCE_OS:-$(uname -s)}/${FORCE_ARCH:-$(uname -m)}
case $platform in
  Linux/x86_64 | Linux/amd64) os=linux arch=x86_64 wheel=manylinux_2_28_x86_64 ;;
  Linux/aarch64 | Linux/arm64) os=linux arch=aarch64 wheel=manylinux_2_28_aarch64 ;;
  Darwin/arm64 | Darwin/aarch64) os=macos arch=arm64 wheel=macosx_14_0_arm64 ;;
  *) fail "no ONNX Runtime $version wheel for $platform; supported: Linux x86_64, Linux aarch64, macOS arm64 (14 or newer)" ;;
esac
case $os in
  linux) library=libonnxruntime.so full=libonnxruntime.so.$version ;;
  macos) library=libonnxruntime.dylib full=libonnxruntime.$version.dylib ;;
esac
name=onnxruntime-$version-$os-$arch

if [ ! -e "$folder/$name/$library" ]; then
  command -v python3 >/dev/null || fail "python3 not found; install Python 3 with pip (Debian, Ubuntu: apt-get install python3 python3-pip; macOS: brew install python)"
  if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
  elif command -v pip3 >/dev/null; then
    pip=(pip3)
  else
    fail "pip not found; install it (Debian, Ubuntu: apt-get install python3-pip; elsewhere: python3 -m ensurepip)"
  fi
  if [ "$os" = linux ] && [ -z "${FORCE_OS:-}" ] && ldd --version 2>&1 | grep -qi musl; then
    fail "this system uses musl, and the ONNX Runtime wheel needs glibc 2.28 or newer"
  fi

  mkdir -p "$folder"
  work=$(mktemp -d "$folder/.fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  echo "fetch-onnxruntime: downloading onnxruntime $version for $os $arch" >&2
  # The wheel's Python version is fixed, whatever the host's is: nothing of it is imported.
  "${pip[@]}" --disable-pip-version-check download --quiet --dest "$work" \
    --no-deps --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 \
    --platform "$wheel" --require-hashes -r "$requirements" >&2 ||
    fail "pip could not download onnxruntime $version for $wheel; its message is above"

  # Unpacked beside the goal and renamed into place: a broken call leaves no half a library, and
  # of two calls at the same time the second finds the first one's.
  python3 - "$work" "$folder/$name" "$full" "$library" <<'PYTHON'
import os, pathlib, shutil, sys, zipfile

work, goal, full, library = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:]
unpacked = work / "unpacked"
unpacked.mkdir()
[wheel] = work.glob("onnxruntime-*.whl")
legal = ("license", "thirdpartynotices", "privacy", "metadata")
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        base = entry.filename.rsplit("/", 1)[-1]
        is_library = entry.filename.startswith("onnxruntime/capi/libonnxruntime")
        if is_library or (entry.filename.count("/") <= 2 and base.lower().startswith(legal)):
            with archive.open(entry) as source, open(unpacked / base, "wb") as target:
                shutil.copyfileobj(source, target)
            os.chmod(unpacked / base, 0o755 if is_library else 0o644)
if not (unpacked / full).is_file():
    sys.exit(f"fetch-onnxruntime: {wheel.name} holds no {full}")
os.symlink(full, unpacked / library)
os.chmod(unpacked, 0o755)
try:
    os.rename(unpacked, goal)
except OSError:
    if not (goal / library).exists():
        raise
PYTHON
fi

if [ "$(readlink "$folder/lib" || true)" != "$name" ]; then
  ln -sfn "$name" "$folder/lib"
fi
echo "$folder/lib/$library"
