# The benchmark of OpenOOD with its own image lists: what would run, from its two folders.
mkdir -p openood/openood/benchmark_imglist openood/openood/images_classic
snakemake -n --cores 1 --config suite=openood_cifar10 mirrors="$PWD/openood" > log 2>&1
grep -E '^train +3$' log
