#!/usr/bin/env bash
# All that a machine with a GPU can say about the kernels: builds them, tests them, runs them under compute-sanitizer,
# measures them beside their peers, and trains with them. Needs a CUDA toolkit and a python3 with torch, timm, pytest,
# pytest-timeout, tqdm and setuptools (.venv is taken where there is one, PYTHON names another); no network.
#
#   tools/check_gpu.sh [FOLDER [STEP ...]]
#
# FOLDER (default: $OUT, or work_dirs/check_gpu) receives summary.txt, log.txt and below benchmarks/results the records
# of `dualattn benchmark`, as they stand in this repository.
# STEP is one or more of:
#   build report tests sanitizer ops models   run without any step named
#   colorize train                            need the packages of the extra `train`
#   bev detectors                             need mmcv with its CUDA operators, mmdet, mmdet3d and spconv
# NATTEN and FlashWindowAttention are measured where they are installed; the summary says so.
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
        -m gpu -k 'memory_layout or shapes_on_cuda or fca_on_cuda or off_16_byte'
}
export PYTHON sanitizer
export -f needs_gpu sanitize

run build build env DUALATTN_BUILD=cuda "$PYTHON" setup.py egg_info build_ext --inplace --force
run report gpu nvidia-smi
run report report "$PYTHON" -m dualattn.ops
run report kernels needs_gpu
run tests 'tests on the GPU' "$PYTHON" -m pytest -q -m gpu --durations 5 --timeout 120 \
    -o timeout_method=thread tests/dualattn/test_ops.py
run tests 'tests of the operators' "$PYTHON" -m pytest -q -m 'not gpu' tests/dualattn/test_ops.py
run sanitizer memcheck sanitize memcheck
run sanitizer racecheck sanitize racecheck
run sanitizer synccheck sanitize synccheck
# measure STEP NAME SUITE ARGUMENT ...
measure() {
    local step=$1 name=$2
    shift 2
    run "$step" "$name" "$PYTHON" -m dualattn.commands.benchmark "$@" --device cuda --root "$folder"
}

# what beside torch's own ways (SDPA, FlexAttention, torch.compile) can be compared here
peers="compiled flex"
for peer in natten=natten flash-window=flash_window_attention; do
    case $wanted in *" ops "*) ;; *) continue ;; esac
    if "$PYTHON" -c "import ${peer#*=}" >>"$folder/log.txt" 2>&1; then
        peers="$peers ${peer%=*}"
    else
        printf '%-28s %s\n' "peer ${peer%=*}" 'not installed, not measured' | tee -a "$folder/summary.txt"
    fi
done

for dtype in bf16 fp32; do
    # shellcheck disable=SC2086  # a list of names
    measure ops "operators, $dtype" operators --batch 64 --dtype $dtype --peers $peers
done
measure models 'forward, bf16' backbones --batch 64 --dtype bf16
measure models 'training step, bf16' backbones --batch 64 --dtype bf16 --what train
measure models 'memory, bf16' memory --batches 64 --dtype bf16
# MPT's paper: 45 frames a second on a V100
measure colorize 'MPT, frames per second' colorizers --networks mpt_base packaged --sizes 256x256 512x512
measure bev "bird's-eye view, fp32" bev
measure detectors 'detectors' detectors

# A few iterations of a training on the photographs that the packages ship: all GPUs through NCCL, then in fp16.
gpus=$("$PYTHON" -c 'import torch; print(max(1, torch.cuda.device_count()))' 2>/dev/null || echo 1)
demo=(configs/colorize/mpt_demo.py --cfg-options train_cfg.max_iters=20 train_cfg.val_interval=20)
run train 'training, NCCL' "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node "$gpus" \
    tools/train.py "${demo[@]}" --launcher pytorch --work-dir "$folder/train_nccl"
run train 'training, fp16 AMP' "$PYTHON" tools/train.py "${demo[@]}" --amp float16 --work-dir "$folder/train_fp16"

echo "details in $folder"
exit $failed
