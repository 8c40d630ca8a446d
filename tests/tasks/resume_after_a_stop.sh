# The same command resumes a training that was stopped.
run() { snakemake --cores 1 --config suite=smoke only=smoke_letters/erm/0 set='training.epochs=100' checkpoint_seconds=0 --until train "$@"; }
setsid bash -c "$(declare -f run); run > first 2>&1" &
until grep -qs 'epoch 20/' logs/train/smoke_letters/erm~*/0.log; do sleep 0.2; kill -0 $!; done
kill -TERM -- -$!
wait $! || true
run > second 2>&1
grep -h 'resuming phase train after' logs/train/smoke_letters/erm~*/0.log
