#!/bin/sh
# Copies the notebooks that the volume lacks, and starts JupyterLab. It makes a token at each start, which it logs.
set -eu
cp --update=none /opt/notebooks/*.ipynb /home/notebook/
exec jupyter lab --no-browser --ServerApp.ip=0.0.0.0 --ServerApp.port=8888 --ServerApp.port_retries=0 \
  --ServerApp.root_dir=/home/notebook --ServerApp.custom_display_url="http://127.0.0.1:${NOTEBOOK_PORT:-8888}/lab"
