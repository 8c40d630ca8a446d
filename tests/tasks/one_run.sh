# One method, one seed; a misspelt name is one sentence.
snakemake --cores 1 --config suite=smoke only=smoke_letters/erm/0 --until evaluate_smoke_letters > log 2>&1
test -s results/smoke~only-smoke_letters-erm-0/runs/smoke_letters/erm/0/metrics.csv
! snakemake -n --config suite=smoke only=smoke_letters/emr/0 > log 2>&1
grep -c Traceback log | grep -qx 0
grep -q "did you mean 'erm'" log
