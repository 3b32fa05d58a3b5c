# What a Terraform user manages in IAM. Endpoints, region and credentials come from the environment (docs/clients.md).
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
    path         = string
    description  = string
    duration     = number
    tags         = map(string)
    actions      = list(string)
    trusted      = list(string)
    boundary     = bool
    members      = list(string)
    administered = bool
  })
}

locals {
  users = toset(["terraform-anna", "terraform-bob"])
}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "use" {
  statement {
    sid       = "UseKeys"
    actions   = var.stage.actions
    resources = ["arn:aws:kms:*:${data.aws_caller_identity.current.account_id}:key/*"]
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]
    principals {
      type        = "AWS"
      identifiers = [for name in var.stage.trusted : aws_iam_user.people[name].arn]
    }
  }
}

# ── who ──

resource "aws_iam_user" "people" {
  for_each             = local.users
  name                 = each.key
  path                 = var.stage.path
  permissions_boundary = var.stage.boundary ? aws_iam_policy.limit.arn : null
  tags                 = var.stage.tags
  force_destroy        = true
}

resource "aws_iam_group" "users" {
  name = "terraform-users"
  path = var.stage.path
}

resource "aws_iam_group_membership" "users" {
  name  = "terraform-users"
  group = aws_iam_group.users.name
  users = [for name in var.stage.members : aws_iam_user.people[name].name]
}

resource "aws_iam_role" "worker" {
  name                 = "terraform-worker"
  path                 = "/terraform/"
  description          = var.stage.description
  max_session_duration = var.stage.duration
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.stage.boundary ? aws_iam_policy.limit.arn : null
  tags                 = var.stage.tags
}

resource "aws_iam_access_key" "anna" {
  user   = aws_iam_user.people["terraform-anna"].name
  status = "Active"
}

# ── what ──

resource "aws_iam_policy" "use" {
  name        = "terraform-use"
  path        = "/terraform/"
  description = "What Terraform's users may do."
  policy      = data.aws_iam_policy_document.use.json
  tags        = var.stage.tags
}

resource "aws_iam_policy" "limit" {
  name = "terraform-limit"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["kms:*", "sts:*"], Resource = "*" }]
  })
}

resource "aws_iam_user_policy" "own" {
  name   = "own"
  user   = aws_iam_user.people["terraform-bob"].name
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_group_policy" "own" {
  name   = "own"
  group  = aws_iam_group.users.name
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_role_policy" "own" {
  name   = "own"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.use.json
}

resource "aws_iam_user_policy_attachment" "use" {
  user       = aws_iam_user.people["terraform-anna"].name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_group_policy_attachment" "use" {
  group      = aws_iam_group.users.name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_role_policy_attachment" "use" {
  role       = aws_iam_role.worker.name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_role_policy_attachment" "administrator" {
  count      = var.stage.administered ? 1 : 0
  role       = aws_iam_role.worker.name
  policy_arn = "arn:aws:iam::aws:policy/AdministratorAccess"
}

# ── found again ──

data "aws_iam_role" "found" {
  name       = aws_iam_role.worker.name
  depends_on = [aws_iam_role_policy.own]
}

data "aws_iam_policy" "found" {
  arn        = aws_iam_policy.use.arn
  depends_on = [aws_iam_role_policy_attachment.use]
}

output "found" {
  value = {
    role       = data.aws_iam_role.found.arn
    policy     = data.aws_iam_policy.found.policy
    policy_arn = aws_iam_policy.use.arn
    group      = aws_iam_group.users.arn
    users      = { for name, user in aws_iam_user.people : name => user.arn }
  }
}

output "access_key" {
  sensitive = true
  value     = { id = aws_iam_access_key.anna.id, secret = aws_iam_access_key.anna.secret }
}
