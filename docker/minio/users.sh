#!/bin/sh
# Gives each service a user of its own in the store, with the rights of rights.txt, by the admin API of Silo and MinIO.
# Safe to repeat. A store without that API gets none: storage-init then finds out what each key can do.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export MC_CONFIG_DIR="$folder"
rights=${1:-/rights.txt}

give_up() { echo "WARNING: users of the store: expected the admin API of Silo and MinIO, found: $*"; exit 0; }

write_policy() { # RIGHT BUCKET...: prints the policy
  actions='"s3:GetObject"'
  if [ "$1" = write ]; then
    actions="$actions,\"s3:PutObject\",\"s3:DeleteObject\",\"s3:AbortMultipartUpload\",\"s3:ListMultipartUploadParts\""
  fi
  shift
  objects='' within=''
  for bucket; do
    objects="$objects,\"arn:aws:s3:::$bucket/*\"" within="$within,\"arn:aws:s3:::$bucket\""
  done
  printf '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[%s],"Resource":[%s]},' "$actions" "${objects#,}"
  printf '{"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":[%s]}]}\n' "${within#,}"
}

# Keys go through pipes: an argument would show in every process list.
found=$(printf '%s\n%s\n' "$MINIO_ROOT_USER" "$MINIO_ROOT_PASSWORD" | mc alias set store "$S3_ENDPOINT_URL" 2>&1) || give_up "$found"
while read -r name right buckets; do
  upper=$(printf %s "$name" | tr '[:lower:]' '[:upper:]') user='' password=''
  eval "user=\$S3_${upper}_USER password=\$S3_${upper}_PASSWORD"
  # shellcheck disable=SC2086  # a list of buckets
  write_policy "$right" $buckets > "$folder/$name.json"
  found=$(mc admin policy create store "mlops-$name" "$folder/$name.json" 2>&1 < /dev/null) || give_up "$found"
  found=$(printf '%s\n%s\n' "$user" "$password" | mc admin user add store 2>&1) || give_up "$found"
  # It fails where the user has the policy already.
  mc admin policy attach store "mlops-$name" --user "$user" > /dev/null 2>&1 < /dev/null || true
  echo "user $user: may $right $buckets"
done < "$rights"
