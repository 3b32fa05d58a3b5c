# What a Terraform user manages in KMS. Endpoint, region and credentials come from the environment (docs/clients.md).
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

provider "aws" {}

variable "stage" {
  description = "What a first and a second apply differ in."
  type = object({
    description     = string
    rotation        = bool
    rotation_period = optional(number)
    enabled         = bool
    deletion_window = number
    tags            = map(string)
    administrators  = list(string)
    alias           = string
    alias_target    = string
    secret          = string
    context         = map(string)
  })
}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "EnableTheAccount"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }
  dynamic "statement" {
    for_each = var.stage.administrators
    content {
      sid       = "Administrator${statement.key}"
      actions   = ["kms:Describe*", "kms:List*", "kms:Get*", "kms:EnableKey", "kms:DisableKey"]
      resources = ["*"]
      principals {
        type        = "AWS"
        identifiers = [statement.value]
      }
    }
  }
}

resource "aws_kms_key" "managed" {
  description             = var.stage.description
  enable_key_rotation     = var.stage.rotation
  rotation_period_in_days = var.stage.rotation_period
  deletion_window_in_days = var.stage.deletion_window
  is_enabled              = var.stage.enabled
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.stage.tags
}

# Nothing said: every default is AWS's.
resource "aws_kms_key" "plain" {}

# A policy of its own resource, written over the default one.
resource "aws_kms_key" "governed" {
  bypass_policy_lockout_safety_check = true
  deletion_window_in_days            = 7
}

resource "aws_kms_key_policy" "governed" {
  key_id                             = aws_kms_key.governed.key_id
  policy                             = data.aws_iam_policy_document.key.json
  bypass_policy_lockout_safety_check = true
}

# With a name, and constraints that differ from stage to stage: then it is another grant.
resource "aws_kms_grant" "named" {
  name               = "terraform"
  key_id             = aws_kms_key.plain.key_id
  grantee_principal  = data.aws_caller_identity.current.arn
  retiring_principal = data.aws_caller_identity.current.arn
  operations         = ["GenerateDataKey", "Decrypt", "DescribeKey"]
  constraints {
    encryption_context_subset = var.stage.context
  }
}

resource "aws_kms_grant" "retired" {
  key_id            = aws_kms_key.plain.arn
  grantee_principal = data.aws_caller_identity.current.arn
  operations        = ["Encrypt", "RetireGrant"]
  retire_on_delete  = true
}

resource "aws_kms_alias" "managed" {
  name          = var.stage.alias
  target_key_id = var.stage.alias_target == "managed" ? aws_kms_key.managed.key_id : aws_kms_key.plain.arn
}

resource "aws_kms_alias" "prefixed" {
  name_prefix   = "alias/terraform/prefixed-"
  target_key_id = aws_kms_key.plain.key_id
}

resource "aws_kms_ciphertext" "secret" {
  key_id    = aws_kms_key.plain.key_id
  plaintext = var.stage.secret
  context   = var.stage.context
}

data "aws_kms_secrets" "opened" {
  secret {
    name    = "secret"
    payload = aws_kms_ciphertext.secret.ciphertext_blob
    context = var.stage.context
  }
}

data "aws_kms_key" "by_alias" {
  key_id = aws_kms_alias.managed.name
}

data "aws_kms_key" "by_arn" {
  key_id = aws_kms_key.managed.arn
}

data "aws_kms_alias" "managed" {
  name = aws_kms_alias.managed.name
}

data "aws_kms_ciphertext" "fresh" {
  key_id    = aws_kms_key.plain.key_id
  plaintext = var.stage.secret
}

output "found" {
  value = {
    alias_arn      = data.aws_kms_alias.managed.arn
    alias_target   = data.aws_kms_alias.managed.target_key_arn
    by_alias       = data.aws_kms_key.by_alias
    by_arn         = data.aws_kms_key.by_arn
    fresh_length   = length(data.aws_kms_ciphertext.fresh.ciphertext_blob)
    grants         = { named = aws_kms_grant.named.grant_id, retired = aws_kms_grant.retired.grant_id }
    governed_arn   = aws_kms_key.governed.arn
    managed_arn    = aws_kms_key.managed.arn
    managed_policy = aws_kms_key.managed.policy
    plain_arn      = aws_kms_key.plain.arn
    prefixed_arn   = aws_kms_alias.prefixed.arn
  }
}

output "opened" {
  value     = data.aws_kms_secrets.opened.plaintext["secret"]
  sensitive = true
}
