# The environment of the lock as an image, for clusters that run jobs in containers:
#   docker build -t reprood/reprood:0.3.0.dev0 .
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/reprood
COPY . .
RUN make environment
ENV PATH=/opt/reprood/.venv/bin:$PATH
