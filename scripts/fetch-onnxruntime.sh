#!/usr/bin/env bash
# Fetch the ONNX Runtime library that latentd loads at run time, and print its path.
#
#   scripts/fetch-onnxruntime.sh                the CPU build, 35 MB
#   DEVICE=cuda scripts/fetch-onnxruntime.sh    the CUDA build with CUDA and cuDNN, 1.6 GB to download
#
# The library is taken out of the wheel `onnxruntime` or `onnxruntime-gpu`, which pip downloads by
# package name with the versions and hashes of scripts/onnxruntime.txt or scripts/onnxruntime-cuda.txt;
# pip's own settings (index, proxy, certificates) apply. It is unpacked into
# .ort/onnxruntime-VERSION-OS-ARCH/ with .ort/lib pointing there; the CUDA build into
# .ort/onnxruntime-gpu-VERSION-OS-ARCH/ with .ort/lib-cuda. NVIDIA's libraries lie in its folder `cuda`,
# where the server looks for them. Where all that has been done already, the call changes nothing and
# takes a few milliseconds.
#
#   DEVICE      which build: cpu (the default), cuda or cuda:N
#   ORT_DIR     where to unpack, an absolute path (default: .ort beside the Cargo.toml)
#   FORCE_OS    take another platform's library: Linux or Darwin, as `uname -s` prints it
#   FORCE_ARCH  x86_64, aarch64 or arm64, as `uname -m` prints it
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${ORT_DIR:-$PWD/.ort}

fail() {
  echo "fetch-onnxruntime: $1" >&2
  exit 1
}

case ${DEVICE:-cpu} in
  cpu) package=onnxruntime requirements=scripts/onnxruntime.txt link=lib what= ;;
  cuda | cuda:[0-9] | cuda:[0-9][0-9])
    package=onnxruntime-gpu requirements=scripts/onnxruntime-cuda.txt link=lib-cuda what=' with CUDA and cuDNN (1.6 GB)'
    ;;
  *) fail "DEVICE=${DEVICE} is not known; it can be cpu, cuda or cuda:N" ;;
esac

version=
while read -r line; do
  case $line in "$package"==*) line=${line#"$package"==} version=${line%% *} ;; esac
done <"$requirements"
[ -n "$version" ] || fail "$requirements names no version of $package"

platform=${FORCE_OS:-$(uname -s)}/${FORCE_ARCH:-$(uname -m)}
case $platform in
  Linux/x86_64 | Linux/amd64) os=linux arch=x86_64 tags=(manylinux_2_28) ;;
  Linux/aarch64 | Linux/arm64) os=linux arch=aarch64 tags=(manylinux_2_28) ;;
  Darwin/arm64 | Darwin/aarch64) os=macos arch=arm64 tags=(macosx_14_0) ;;
  *) fail "no ONNX Runtime $version wheel for $platform; supported: Linux x86_64, Linux aarch64, macOS arm64 (14 or newer)" ;;
esac
if [ "$link" = lib-cuda ]; then
  [ "$os" = linux ] || fail "there is no CUDA on $platform; run with DEVICE=cpu"
  # NVIDIA's wheels carry older tags, and not every pip takes a newer one to stand for them
  tags=(manylinux_2_28 manylinux_2_27 manylinux2014 manylinux_2_17)
  case $arch in
    x86_64) tags+=(manylinux2010 manylinux_2_12 manylinux1) ;;
    aarch64) tags=(manylinux_2_34 "${tags[@]}") ;;
  esac
fi
case $os in
  linux) library=libonnxruntime.so full=libonnxruntime.so.$version ;;
  macos) library=libonnxruntime.dylib full=libonnxruntime.$version.dylib ;;
esac
name=$package-$version-$os-$arch

# The CUDA build is fetched again when any of its pins has changed, not only that of ONNX Runtime.
is_there() {
  [ -e "$folder/$name/$library" ] && { [ "$link" = lib ] || cmp -s "$requirements" "$folder/$name/requirements.txt"; }
}

if ! is_there; then
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
  echo "fetch-onnxruntime: downloading $package $version$what for $os $arch" >&2
  # The wheel's Python version is fixed, whatever the host's is: nothing of it is imported. The
  # gigabytes go where they will stay, not through a small /tmp.
  mkdir "$work/tmp"
  platforms=()
  for tag in "${tags[@]}"; do platforms+=(--platform "${tag}_$arch"); done
  TMPDIR=$work/tmp "${pip[@]}" --disable-pip-version-check download --quiet --dest "$work" \
    --no-deps --only-binary=:all: --implementation cp --python-version 3.12 --abi cp312 \
    "${platforms[@]}" --require-hashes -r "$requirements" >&2 ||
    fail "pip could not download $package $version for $os $arch; its message is above"

  # Unpacked beside the goal and renamed into place: a broken call leaves no half a library, and
  # of two calls at the same time the second finds the first one's.
  python3 - "$work" "$folder/$name" "$full" "$library" "$requirements" <<'PYTHON'
import errno, os, pathlib, re, shutil, sys, zipfile

work, goal, full, library, requirements = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), *sys.argv[3:]
unpacked = work / "unpacked"
unpacked.mkdir()
legal = ("license", "thirdpartynotices", "privacy", "metadata")


def unpack(archive, entry, target, mode):
    target.parent.mkdir(exist_ok=True)
    with archive.open(entry) as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    os.chmod(target, mode)


def runtime(wheel):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            base = entry.filename.rsplit("/", 1)[-1]
            is_library = entry.filename.startswith("onnxruntime/capi/libonnxruntime") and "tensorrt" not in base
            if is_library or (entry.filename.count("/") <= 2 and base.lower().startswith(legal)):
                unpack(archive, entry, unpacked / base, 0o755 if is_library else 0o644)


# One flat folder: NVIDIA's libraries look for one another in the folder they lie in.
def nvidia(wheel):
    distribution = wheel.name.split("-")[0]
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            base = entry.filename.rsplit("/", 1)[-1]
            # libnvblas and libcufftw stand in for other libraries' interfaces; nothing here calls them
            if re.search(r"/lib/lib(?!nvblas|cufftw)[^/]*\.so\.[0-9.]+$", entry.filename):
                unpack(archive, entry, unpacked / "cuda" / base, 0o755)
            elif ".dist-info/" in entry.filename and base.lower().startswith("license"):
                unpack(archive, entry, unpacked / "cuda" / f"LICENSE.{distribution}.txt", 0o644)


try:
    for wheel in sorted(work.glob("*.whl")):
        (nvidia if wheel.name.startswith("nvidia_") else runtime)(wheel)
        wheel.unlink()
    shutil.copy(requirements, unpacked / "requirements.txt")
except OSError as error:
    if error.errno != errno.ENOSPC:
        raise
    sys.exit(f"fetch-onnxruntime: no space left in {goal.parent}; CUDA and cuDNN need 4.5 GB while they are unpacked, 2.6 GB after")
if not (unpacked / full).is_file():
    sys.exit(f"fetch-onnxruntime: the wheel holds no {full}")
os.symlink(full, unpacked / library)
os.chmod(unpacked, 0o755)
if (goal / library).exists() and (goal / "requirements.txt").exists():
    if (goal / "requirements.txt").read_bytes() != pathlib.Path(requirements).read_bytes():
        os.rename(goal, work / "replaced")
try:
    os.rename(unpacked, goal)
except OSError:
    if not (goal / library).exists():
        raise
PYTHON
fi

if [ "$(readlink "$folder/$link" || true)" != "$name" ]; then
  ln -sfn "$name" "$folder/$link"
fi
echo "$folder/$link/$library"
