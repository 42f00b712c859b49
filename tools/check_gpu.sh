#!/usr/bin/env bash
# All that a machine with a GPU can say about the kernels: builds them, tests them, runs them under compute-sanitizer,
# and measures them. Needs a CUDA toolkit and a python3 with torch, timm, pytest, pytest-timeout, tqdm and setuptools
# (.venv is taken where there is one, PYTHON names another); no network.
#
#   tools/check_gpu.sh [FOLDER [STEP ...]]
#
# FOLDER (default: $OUT, or work_dirs/check_gpu) receives summary.txt, log.txt and the measurements as JSON.
# STEP is one or more of: build report tests sanitizer ops models bev; without any, all but bev run, which needs mmdet3d.
# A step that fails does not stop the others; the exit status is 1 when one failed. A part of a step that takes longer
# than STEP_LIMIT seconds (default 540) is ended: a kernel that hangs would take all the time there is.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${1:-${OUT:-work_dirs/check_gpu}}
shift $(($# > 0))
wanted=" ${*:-build report tests sanitizer ops models} "
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
if [ -z "${PYTHON:-}" ]; then
    [ -x .venv/bin/python ] && PYTHON=.venv/bin/python || PYTHON=python3
fi
sanitizer=$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
: >"$folder/log.txt"
: >"$folder/summary.txt"
failed=0

# run STEP NAME COMMAND ...: runs the command when its step is wanted, and notes how it ended
run() {
    case $wanted in *" $1 "*) ;; *) return ;; esac
    local name=$2 begin=$SECONDS status=0
    shift 2
    printf '\n=== %s: %s\n' "$name" "$*" >>"$folder/log.txt"
    timeout -k 10 "${STEP_LIMIT:-540}" bash -c '"$@"' step "$@" >>"$folder/log.txt" 2>&1 || status=$?
    if [ $status -ne 0 ]; then
        failed=1
        tail -n 15 "$folder/log.txt"
    fi
    printf '%-28s %-8s %5d s\n' "$name" "$([ $status -eq 0 ] && echo ok || echo "FAILED $status")" $((SECONDS - begin)) |
        tee -a "$folder/summary.txt"
}

needs_gpu() {
    "$PYTHON" -c 'import torch; from dualattn.ops import library
assert torch.cuda.is_available(), "torch sees no GPU"
assert library.has_cuda_kernels(), "the CUDA kernels were not built"'
}

# Our kernels alone: libraries ask the driver for functions that it may lack, which is no fault. Each tensor has an
# allocation of its own, so that a neighbour does not hide an access beyond it.
sanitize() {
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$1" --report-api-errors no --error-exitcode 1 \
        --kernel-name kns=dualattn "$PYTHON" -m pytest -q -p no:cacheprovider --timeout 300 tests/dualattn/test_ops.py \
        -m gpu -k 'memory_layout or shapes_on_cuda or fca_on_cuda'
}
export PYTHON sanitizer
export -f needs_gpu sanitize

run build build env DUALATTN_BUILD=cuda "$PYTHON" setup.py build_ext --inplace --force
run report gpu nvidia-smi
run report report "$PYTHON" -m dualattn.ops
run report kernels needs_gpu
run tests 'tests on the GPU' "$PYTHON" -m pytest -q -m gpu --durations 5 --timeout 120 \
    -o timeout_method=thread tests/dualattn/test_ops.py
run tests 'tests of the operators' "$PYTHON" -m pytest -q -m 'not gpu' tests/dualattn/test_ops.py
run sanitizer memcheck sanitize memcheck
run sanitizer racecheck sanitize racecheck
run sanitizer synccheck sanitize synccheck
for dtype in bf16 fp32; do
    run ops "operators, $dtype" "$PYTHON" tools/benchmark.py --json "$folder/ops_$dtype.json" \
        ops --device cuda --batch 64 --dtype $dtype
done
run models 'forward, bf16' "$PYTHON" tools/benchmark.py --json "$folder/backbone_bf16.json" \
    backbone --device cuda --batch 64 --dtype bf16
run models 'training step, bf16' "$PYTHON" tools/benchmark.py --json "$folder/train_bf16.json" \
    train --device cuda --batch 64 --dtype bf16
run bev "bird's-eye view, fp32" "$PYTHON" tools/benchmark.py --json "$folder/bev_fp32.json" bev --device cuda

echo "details in $folder"
exit $failed
